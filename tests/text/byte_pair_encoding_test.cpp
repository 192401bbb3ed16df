// Byte-pair encoding against one that joins pairs in quadratic time, its bounds, and what files of merges may not hold.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/generate/random.hpp"
#include "inlay/text/tokenizer.hpp"
#include "tests/support/allocation_counter.hpp"
#include "tests/text/small_vocab.hpp"

namespace {

using inlay::ErrorCode;
using inlay::TokenId;
using inlay_test::BytePairFile;
using inlay_test::Encode;
using inlay_test::IdOf;
using inlay_test::Mapped;
using inlay_test::OpenTokenizer;
using inlay_test::TokenIds;
using inlay_test::VocabFile;

using Merges = std::vector<std::pair<std::string, std::string>>;

// Joins the first merge of the list that applies, at its first place, until none does; by spellings, word by word.
TokenIds SlowEncode(const VocabFile& file, const Merges& merges, const std::vector<std::string>& words) {
  TokenIds ids;
  for (const std::string& word : words) {
    std::vector<std::string> symbols;
    for (const char c : word) symbols.emplace_back(1, c);
    for (bool joined = true; joined;) {
      joined = false;
      for (const auto& [left, right] : merges) {
        for (std::size_t i = 0; i + 1 < symbols.size() && !joined; ++i) {
          if (symbols[i] != left || symbols[i + 1] != right) continue;
          symbols[i] += symbols[i + 1];
          symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(i) + 1);
          joined = true;
        }
        if (joined) break;
      }
    }
    for (const std::string& symbol : symbols) ids.push_back(IdOf(file.tokens, Mapped(symbol)));
  }
  return ids;
}

Merges RandomMerges(inlay::Pcg32& random) {
  std::vector<std::string> pieces = {"a", "b", "c", "\xC3", "\xA9", " "};
  Merges merges;
  for (std::size_t i = 3 + random.Next() % 40; i != 0; --i) {
    const std::string left = pieces[random.Next() % pieces.size()];
    std::string right = pieces[random.Next() % pieces.size()];
    // A space only begins words.
    if (right[0] == ' ' || left.size() + right.size() > 12) continue;
    merges.emplace_back(left, right);
    pieces.push_back(left + right);
  }
  if (merges.empty()) merges.emplace_back("a", "b");
  return merges;
}

std::string RandomWord(inlay::Pcg32& random, std::size_t most) {
  std::string word;
  const char* letters[] = {"a", "b", "c", "a", "\xC3\xA9"};
  for (std::size_t i = 1 + random.Next() % most; i != 0; --i) word += letters[random.Next() % 5];
  return word;
}

std::string Text(const inlay::Tokenizer& tokenizer, const TokenIds& ids) {
  return inlay_test::Detokenize(tokenizer, ids, {.leading_space = inlay::LeadingSpace::kKeep});
}

// As gemma4's files: pieces are text with marks, and there are tokens for bytes.
VocabFile MarkedFile() {
  VocabFile file;
  file.model = "gemma4";
  file.tokens = inlay_test::TokensWithBytes();
  const std::string mark(inlay::kSpaceMark);
  for (const std::string& piece :
       {mark, std::string("a"), std::string("b"), std::string("\n"), std::string("<"), std::string("/"), mark + "a",
        std::string("ab"), mark + "ab", mark + mark, std::string("\n\n"), std::string("\n\n\n"), "<" + mark + "/"}) {
    file.tokens.push_back({piece});
  }
  file.merges = {mark + " a", "a b", mark + "a b", mark + " ab", mark + " " + mark, "\n \n", "<" + mark + " /"};
  file.tokens.push_back({"<" + mark});
  file.merges.insert(file.merges.end() - 1, "< " + mark);
  file.Id("tokenizer.ggml.bos_token_id", 1);
  return file;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(text_byte_pair_encoding)

BOOST_AUTO_TEST_CASE(Figures) {
  const Merges merges = {{"l", "o"}, {"lo", "w"}, {"e", "r"}, {" ", "lo"}, {" lo", "w"}, {"low", "er"}, {"a", "a"}};
  const VocabFile file = BytePairFile(merges, "gpt-2");
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  BOOST_TEST((tokenizer->model() == inlay::TokenizerModel::kBytePairEncoding));
  const auto id = [&](std::string_view piece) { return IdOf(file.tokens, Mapped(piece)); };
  const auto check = [&](std::string_view text, const TokenIds& expected) {
    BOOST_TEST(Encode(*tokenizer, text) == expected, boost::test_tools::per_element());
    BOOST_TEST(Text(*tokenizer, expected) == text);
  };
  check("", {});
  check("lower", {id("lower")});
  // "lo" comes before " lo", so the space is left.
  check(" lower", {id(" "), id("lower")});
  check("low low", {id("low"), ' ', id("low")});
  check("aaa", {id("aa"), 'a'});
  check("x\xC3\xA9", {'x', 0xC3, 0xA9});
  check(std::string_view("\0\n", 2), {0, '\n'});
  check("<|endoftext|>", {'<', '|', 'e', 'n', 'd', 'o', 'f', 't', 'e', 'x', 't', '|', '>'});
  const TokenId end = static_cast<TokenId>(file.tokens.size() - 1);
  BOOST_TEST(Encode(*tokenizer, "a<|endoftext|>low", {.add_special = false, .parse_special = true}) ==
                 (TokenIds{'a', end, id("low")}),
             boost::test_tools::per_element());
  BOOST_TEST(tokenizer->EndsGeneration(end));
  BOOST_TEST(!tokenizer->add_bos());
  BOOST_TEST(tokenizer->special().eot == end);
}

BOOST_AUTO_TEST_CASE(AgreesWithTheSlowAlgorithm) {
  inlay::Pcg32 random(17);
  for (int round = 0; round < 150; ++round) {
    const Merges merges = RandomMerges(random);
    const VocabFile file = BytePairFile(merges, "gpt-2");
    const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
    BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
    for (int i = 0; i < 10; ++i) {
      const std::string word = RandomWord(random, 30);
      BOOST_TEST(Encode(*tokenizer, word) == SlowEncode(file, merges, {word}), boost::test_tools::per_element());
    }
    // Most words of a long text were there before.
    std::vector<std::string> some, words;
    for (int i = 0; i < 10; ++i) some.push_back(" " + RandomWord(random, 8));
    std::string text;
    while (text.size() < 600) text += words.emplace_back(some[random.Next() % some.size()]);
    BOOST_TEST(Encode(*tokenizer, text) == SlowEncode(file, merges, words), boost::test_tools::per_element());
    BOOST_TEST(inlay_test::EncodeOnSmallStack(*tokenizer, text) == SlowEncode(file, merges, words),
               boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(EveryByteComesBack) {
  inlay::Pcg32 random(29);
  for (const VocabFile& file :
       {BytePairFile({{"a", "b"}, {"\xC3", "\xA9"}, {"\xFF", "a"}, {"\xFF", "\xFF"}}, "llama-bpe"), MarkedFile()}) {
    const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
    BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
    for (int round = 0; round < 300; ++round) {
      std::string text(random.Next() % 50, ' ');
      for (char& c : text) {
        const char hard = "ab \n\xC3\xA9\xFF\xF0"[random.Next() % 8];
        c = round % 2 == 0 ? static_cast<char>(random.Next() % 256) : hard;
      }
      const TokenIds ids = Encode(*tokenizer, text);
      BOOST_TEST(ids.size() <= tokenizer->MaxTokens(text.size()));
      if (text.find(inlay::kSpaceMark) == std::string::npos) BOOST_TEST(Text(*tokenizer, ids) == text);
    }
  }
}

BOOST_AUTO_TEST_CASE(MarkedSpaces) {
  const VocabFile file = MarkedFile();
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const std::string mark(inlay::kSpaceMark);
  const auto id = [&](const std::string& piece) { return IdOf(file.tokens, piece); };
  const auto check = [&](std::string_view text, const TokenIds& expected) {
    BOOST_TEST(Encode(*tokenizer, text) == expected, boost::test_tools::per_element());
    BOOST_TEST(Text(*tokenizer, expected) == text);
  };
  // The first merge is a space and "a", which is no longer there for "ab".
  check(" ab", {id(mark + "ab")});
  check("ab ab", {id("ab"), id(mark + "ab")});
  check("  b", {id(mark + mark), id("b")});
  // Over the border of words.
  check("b< /b", {id("b"), id("<" + mark + "/"), id("b")});
  // A run of line feeds is one token where it is a piece, although no merge leads there; else merges apply.
  check("\n\n\n", {id("\n\n\n")});
  check("a\n\n\n\nb", {id("a"), id("\n\n"), id("\n\n"), id("b")});
  check("\xC3\xA9\r", {3 + 0xC3, 3 + 0xA9, 3 + '\r'});
  BOOST_TEST(Encode(*tokenizer, "a", {}) == (TokenIds{1, id("a")}), boost::test_tools::per_element());
  // The flag of these files is wrong when it says no.
  VocabFile silent = MarkedFile();
  silent.Flag("tokenizer.ggml.add_bos_token", false);
  BOOST_TEST(OpenTokenizer::Gguf(silent)->add_bos());
}

BOOST_AUTO_TEST_CASE(WholeWordsFirst) {
  // No merge leads to "abc" in one step from what comes first.
  const Merges merges = {{"b", "c"}, {"a", "b"}, {"ab", "c"}};
  const std::string word = "abc";
  for (const char* pre : {"llama-bpe", "tekken", "dbrx", "gpt-2"}) {
    const VocabFile file = BytePairFile(merges, pre);
    const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
    BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
    const bool whole = std::string_view(pre) == "llama-bpe" || std::string_view(pre) == "tekken";
    const TokenIds expected = whole ? TokenIds{IdOf(file.tokens, "abc")} : TokenIds{'a', IdOf(file.tokens, "bc")};
    BOOST_TEST(Encode(*tokenizer, word) == expected, boost::test_tools::per_element());
    BOOST_TEST(Encode(*tokenizer, std::string(3000, 'a')).size() == 3000u);
  }
}

BOOST_AUTO_TEST_CASE(FactsOfThePreTokenizer) {
  const auto open = [](std::string_view pre) {
    VocabFile file = BytePairFile({{"a", "b"}}, pre);
    const auto end = static_cast<std::uint32_t>(file.tokens.size() - 1);
    return OpenTokenizer::Gguf(file.Id("tokenizer.ggml.bos_token_id", end));
  };
  BOOST_TEST(open("llama-bpe")->add_bos());
  BOOST_TEST(!open("dbrx")->add_bos());
  BOOST_TEST(open("gpt-2")->cleans_spaces());
  BOOST_TEST(!open("qwen2")->cleans_spaces());
  VocabFile file = BytePairFile({{"a", "b"}}, "roberta-bpe");
  const auto end = static_cast<std::uint32_t>(file.tokens.size() - 1);
  BOOST_TEST(OpenTokenizer::Gguf(file.Id("tokenizer.ggml.seperator_token_id", end))->add_separator());
}

// A byte that no token spells: the unknown token, or an error that says where.
BOOST_AUTO_TEST_CASE(MissingBytes) {
  VocabFile file = BytePairFile({{"a", "b"}}, "gpt-2");
  file.tokens['x'].piece = "other";
  const OpenTokenizer without = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(without, without.Why());
  std::vector<std::byte> scratch(without->EncodeScratchBytes(8));
  TokenIds ids(without->MaxTokens(8));
  for (const char* text : {"ab x", "ab yxz"}) {
    const auto count = without->Encode(text, {.add_special = false}, scratch, ids);
    BOOST_REQUIRE(!count);
    BOOST_TEST((count.error().code == ErrorCode::kMissing));
    BOOST_TEST(count.error().offset == 2u);
  }
  file.Id("tokenizer.ggml.unknown_token_id", 7);
  const OpenTokenizer with = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(with, with.Why());
  BOOST_TEST(Encode(*with, "xb") == (TokenIds{7, 'b'}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(BadMerges) {
  struct Case {
    std::string what;
    std::function<void(VocabFile&)> spoil;
    ErrorCode code;
    std::string field;
  };
  const std::string merges = "tokenizer.ggml.merges";
  const auto add = [](std::string merge) { return [merge](VocabFile& f) { f.merges.push_back(merge); }; };
  const Case cases[] = {
      {"none", [](VocabFile& f) { f.merges.clear(); }, ErrorCode::kMissing, merges},
      {"empty", add(""), ErrorCode::kBadFile, merges},
      {"one part", add("ab"), ErrorCode::kBadFile, merges},
      {"no second part", add("a "), ErrorCode::kBadFile, merges},
      {"no first part", add(" a"), ErrorCode::kBadFile, merges},
      {"three parts", add("a b a"), ErrorCode::kBadFile, merges},
      {"unknown first part", add("zz a"), ErrorCode::kBadFile, merges},
      {"unknown second part", add("a zz"), ErrorCode::kBadFile, merges},
      {"unknown whole", add("b a"), ErrorCode::kBadFile, merges},
      {"whole of 6000 bytes", add(std::string(3000, 'a') + " " + std::string(3000, 'a')), ErrorCode::kBadFile, merges},
      {"whole that is no piece",
       [](VocabFile& f) {
         f.merges = {"ab b", "a b"};
       },
       ErrorCode::kBadFile, merges},
      {"control token",
       [](VocabFile& f) {
         f.tokens.push_back({"bb", 0, inlay_test::kControl});
         f.merges.push_back("b b");
       },
       ErrorCode::kBadFile, merges},
      {"another pre-tokenizer",
       [](VocabFile& f) {
         f.extra = {};
         f.extra_count = 0;
         f.Text("tokenizer.ggml.pre", "gpt-9");
       },
       ErrorCode::kUnsupported, "tokenizer.ggml.pre"},
      {"pre-tokenizer of another type",
       [](VocabFile& f) {
         f.extra = {};
         f.extra_count = 0;
         f.Id("tokenizer.ggml.pre", 1);
       },
       ErrorCode::kMismatch, "tokenizer.ggml.pre"},
  };
  for (const Case& c : cases) {
    VocabFile file = BytePairFile({{"a", "b"}}, "gpt-2");
    c.spoil(file);
    const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
    BOOST_REQUIRE_MESSAGE(!tokenizer, c.what);
    BOOST_TEST((tokenizer.error().code == c.code), c.what << ": " << tokenizer.Why());
    BOOST_TEST(tokenizer.error().field.view() == c.field, c.what);
    if (c.code == ErrorCode::kBadFile) {
      BOOST_TEST(tokenizer.error().offset != inlay::Error::kNoOffset, c.what);
    }
  }
  // A merge that comes twice counts where it comes first.
  VocabFile twice = BytePairFile({{"a", "b"}, {"b", "c"}, {"a", "b"}}, "gpt-2");
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(twice);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  BOOST_TEST(Encode(*tokenizer, "abc") == (TokenIds{IdOf(twice.tokens, "ab"), 'c'}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(ProgramsChooseTheirAlgorithms) {
  const auto bytes = BytePairFile({{"a", "b"}}, "gpt-2").Build().bytes();
  auto index_memory = *inlay::OwnedBuffer::Create(inlay::GgufFile::IndexBytes(bytes));
  auto index = *inlay::Arena::Create(index_memory.bytes());
  const auto file = *inlay::GgufFile::Open(bytes, index);
  auto memory = *inlay::OwnedBuffer::Create(*inlay::Tokenizer::ArenaBytesFor(file));
  auto arena = *inlay::Arena::Create(memory.bytes());
  const auto refused = inlay::Tokenizer::FromGguf<inlay::SentencePieceBpe, inlay::WordPiece>(file, arena);
  BOOST_REQUIRE(!refused);
  BOOST_TEST((refused.error().code == ErrorCode::kUnsupported));
  BOOST_TEST(arena.used() == 0u);
  BOOST_TEST(inlay::Tokenizer::FromGguf<inlay::BytePairEncoding>(file, arena).has_value());
  BOOST_TEST(arena.used() <= memory.bytes().size());
  // Too little memory at every step is an error.
  for (std::size_t size = 0; size < memory.bytes().size(); size += 64) {
    auto less = *inlay::Arena::Create(memory.bytes().first(size));
    const auto tokenizer = inlay::Tokenizer::FromGguf(file, less);
    if (size + 64 < arena.used()) BOOST_TEST((!tokenizer && tokenizer.error().code == ErrorCode::kOutOfMemory));
  }
}

// A million equal characters: no recursion, no quadratic loop.
BOOST_AUTO_TEST_CASE(AMillionEqualCharacters) {
  Merges merges = {{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}, {" ", " "}};
  for (const char* pre : {"llama-bpe", "superbpe"}) {
    const VocabFile file = BytePairFile(merges, pre);
    const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
    BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
    for (const char c : {'a', 'b', ' ', '\n', '1', '\xFF'}) {
      const std::string text(1000000, c);
      const TokenIds ids = inlay_test::EncodeOnSmallStack(*tokenizer, text);
      BOOST_TEST(ids.size() == (c == 'a' ? 125000u : c == ' ' ? 500000u : 1000000u));
    }
  }
}

BOOST_AUTO_TEST_CASE(NothingIsAllocated) {
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(BytePairFile({{"a", "b"}, {"ab", "c"}}, "default"));
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  std::string text;
  for (int i = 0; i < 50; ++i) text += "abc 12345 \xC3\xA9\xFF<|endoftext|>";
  std::vector<std::byte> scratch(tokenizer->EncodeScratchBytes(text.size()));
  TokenIds ids(tokenizer->MaxTokens(text.size()));
  const inlay_test::AllocationScope scope;
  const bool fine = tokenizer->Encode(text, {.parse_special = true}, scratch, ids).has_value();
  const auto counts = scope.counts();
  BOOST_TEST(fine);
  BOOST_TEST(counts.allocations == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
