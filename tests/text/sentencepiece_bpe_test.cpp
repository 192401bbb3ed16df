// The algorithm against one that joins pairs in quadratic time, and its bounds on time, stack and memory.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/generate/random.hpp"
#include "inlay/text/tokenizer.hpp"
#include "tests/support/allocation_counter.hpp"
#include "tests/text/small_vocab.hpp"

namespace {

using inlay::TokenId;
using inlay_test::Encode;
using inlay_test::OpenTokenizer;
using inlay_test::TestTokens;
using inlay_test::TokenIds;
using inlay_test::VocabFile;

std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == ' ' ? std::string(inlay::kSpaceMark) : std::string(1, c);
  return out;
}

// Joins the best pair over and over, looking at all of them each time; no words, no queue.
TokenIds SlowEncode(const TestTokens& tokens, std::string_view text) {
  std::map<std::string, TokenId> ids;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto type = tokens[i].type;
    if (type != inlay_test::kControl && type != inlay_test::kUnknown && type != inlay_test::kByte) {
      ids[tokens[i].piece] = static_cast<TokenId>(i);
    }
  }
  const std::string escaped = Escaped(text);
  std::vector<std::string> symbols;
  for (std::size_t at = 0; at < escaped.size();) {
    const auto lead = static_cast<unsigned char>(escaped[at]);
    std::size_t size = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    size = std::min(size, escaped.size() - at);
    size = std::min(size, escaped.find(inlay::kSpaceMark, at + 1) - at);
    symbols.push_back(escaped.substr(at, size));
    at += size;
  }
  for (;;) {
    std::size_t best = symbols.size();
    float best_score = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = ids.find(symbols[i] + symbols[i + 1]);
      if (found == ids.end()) continue;
      const float score = tokens[static_cast<std::size_t>(found->second)].score;
      if (best == symbols.size() || score > best_score) {
        best = i;
        best_score = score;
      }
    }
    if (best == symbols.size()) break;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  TokenIds out;
  for (const std::string& symbol : symbols) {
    if (ids.contains(symbol)) {
      out.push_back(ids[symbol]);
    } else if (symbol == inlay::kSpaceMark) {
      out.push_back(3 + ' ');
    } else {
      for (const char c : symbol) out.push_back(3 + static_cast<unsigned char>(c));
    }
  }
  return out;
}

// Random pieces over few letters, so that many joins compete, with few different scores, so that ties are common.
TestTokens RandomTokens(inlay::Pcg32& random, bool spaces_inside) {
  TestTokens tokens = inlay_test::TokensWithBytes();
  std::set<std::string> seen;
  const std::size_t count = 5 + random.Next() % 60;
  for (std::size_t i = 0; i < count; ++i) {
    std::string piece;
    const std::size_t size = 1 + random.Next() % 5;
    const char* letters[] = {"a", "b", "c", "\xC3\xA9", "\xE2\x96\x81"};
    for (std::size_t k = 0; k < size; ++k) {
      std::uint32_t letter = random.Next() % 5;
      if (letter == 4 && k != 0 && !spaces_inside) letter = 0;
      piece += letters[letter];
    }
    if (seen.insert(piece).second) {
      // Both zeros are among the scores.
      const float score = (static_cast<float>(random.Next() % 4) - 1.0f) * (random.Next() % 2 == 0 ? 1.0f : -1.0f);
      tokens.push_back({piece, score, inlay_test::kNormal});
    }
  }
  return tokens;
}

std::string RandomText(inlay::Pcg32& random) {
  std::string text;
  const char* letters[] = {"a",    "b",    "c",   "\xC3\xA9", " ", "a", "\xF0\x9F\x98\x80", "\xE2\x96\x81",
                           "\xF0", "\xFF", "\x81"};
  const std::size_t size = random.Next() % 40;
  // Half of the texts are valid UTF-8.
  const std::uint32_t kinds = random.Next() % 2 == 0 ? 8 : 11;
  for (std::size_t i = 0; i < size; ++i) text += letters[random.Next() % kinds];
  return text;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(text_sentencepiece_bpe)

BOOST_AUTO_TEST_CASE(AgreesWithTheSlowAlgorithm) {
  inlay::Pcg32 random(11);
  int with_words = 0;
  for (int round = 0; round < 400; ++round) {
    VocabFile file;
    file.tokens = RandomTokens(random, round % 2 == 0);
    file.Flag("tokenizer.ggml.add_space_prefix", round % 3 == 0);
    const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
    BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
    bool all_borders = true;
    for (int last = 0; last < 256; ++last) {
      all_borders = all_borders && tokenizer->vocabulary().IsBorderBeforeSpace(static_cast<char>(last));
    }
    with_words += all_borders ? 1 : 0;
    for (int i = 0; i < 30; ++i) {
      const std::string text = RandomText(random);
      const std::string prefix = round % 3 == 0 && !text.empty() ? " " : "";
      const TokenIds expected = SlowEncode(file.tokens, prefix + text);
      BOOST_TEST(Encode(*tokenizer, text) == expected, boost::test_tools::per_element());
    }
  }
  // Vocabularies with and without borders that tokens reach over were there.
  BOOST_TEST(with_words >= 200);
  BOOST_TEST(with_words < 350);
}

BOOST_AUTO_TEST_CASE(NoByteIsLost) {
  const VocabFile file;
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  inlay::Pcg32 random(12);
  for (int round = 0; round < 3000; ++round) {
    std::string text(random.Next() % 30, '\0');
    for (char& c : text) {
      const char hard = "ab \xC3\xA9\xE2\xF0\x9F"[random.Next() % 8];
      c = round % 2 == 0 ? static_cast<char>(random.Next() % 256) : hard;
    }
    const TokenIds ids = Encode(*tokenizer, text);
    const std::string back =
        inlay_test::Detokenize(*tokenizer, ids, {.leading_space = inlay::LeadingSpace::kStripFirst});
    // The one exception: U+2581 itself is how this kind of vocabulary writes a space.
    if (text.find(inlay::kSpaceMark) == std::string::npos) BOOST_TEST(back == text);
    BOOST_TEST(ids.size() <= tokenizer->MaxTokens(text.size()));
  }
}

BOOST_AUTO_TEST_CASE(InvalidTextAndNul) {
  const VocabFile file;
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const TokenId a = inlay_test::IdOf(file.tokens,
                                     "\xE2\x96\x81"
                                     "a");
  const TokenId space = inlay_test::IdOf(file.tokens, "\xE2\x96\x81");
  const auto byte = [](unsigned value) { return static_cast<TokenId>(3 + value); };
  BOOST_TEST(
      Encode(*tokenizer, std::string_view("a\0b", 3)) == (TokenIds{a, byte(0), inlay_test::IdOf(file.tokens, "b")}),
      boost::test_tools::per_element());
  // The bytes that an invalid one takes along, but no space.
  BOOST_TEST(Encode(*tokenizer,
                    "a\xFF"
                    "b") == (TokenIds{a, byte(0xFF), byte('b')}),
             boost::test_tools::per_element());
  BOOST_TEST(Encode(*tokenizer, "a\xFF b") == (TokenIds{a, byte(0xFF), space, inlay_test::IdOf(file.tokens, "b")}),
             boost::test_tools::per_element());
  BOOST_TEST(Encode(*tokenizer, "\xC3") == (TokenIds{space, byte(0xC3)}), boost::test_tools::per_element());
  BOOST_TEST(Encode(*tokenizer, "").empty());
}

BOOST_AUTO_TEST_CASE(WithoutBytes) {
  // Valid characters that it does not know become the unknown token; what is no text is refused.
  VocabFile file;
  file.tokens = {{"<unk>", 0, inlay_test::kUnknown},
                 {"<s>", 0, inlay_test::kControl},
                 {"</s>", 0, inlay_test::kControl},
                 {"\xE2\x96\x81", -1, inlay_test::kNormal},
                 {"a", -1, inlay_test::kNormal}};
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  BOOST_TEST(Encode(*tokenizer, "az\xC3\xA9") == (TokenIds{3, 4, 0, 0}), boost::test_tools::per_element());
  std::vector<std::byte> scratch(10000);
  TokenIds out(100);
  const auto invalid = tokenizer->Encode("aaa a\xFF", {}, scratch, out);
  BOOST_REQUIRE(!invalid);
  BOOST_TEST((invalid.error().code == inlay::ErrorCode::kMissing));
  BOOST_TEST(invalid.error().offset == 3u);  // of the word

  file.tokens = {{"a", -1, inlay_test::kNormal}};
  const OpenTokenizer tiny = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tiny, tiny.Why());
  const auto unknown = tiny->Encode("b", {.add_special = false}, scratch, out);
  BOOST_REQUIRE(!unknown);
  BOOST_TEST((unknown.error().code == inlay::ErrorCode::kMissing));
}

BOOST_AUTO_TEST_CASE(ScratchOfTheLongestWordIsEnough) {
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(VocabFile());
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  std::string text;
  for (int i = 0; i < 500; ++i) text += "abcdefg abca ";
  const TokenIds expected = Encode(*tokenizer, text);
  std::vector<std::byte> scratch(inlay::SentencePieceBpe::ScratchBytes(std::string_view(" abcdefg").size()) + 1);
  TokenIds ids(expected.size());
  // At every alignment.
  for (std::size_t at : {0u, 1u}) {
    const auto count = tokenizer->Encode(text, {.add_special = false}, std::span(scratch).subspan(at), ids);
    BOOST_REQUIRE(count);
    BOOST_TEST(ids == expected, boost::test_tools::per_element());
  }
  const auto little = tokenizer->Encode(text, {}, std::span(scratch).first(100), ids);
  BOOST_REQUIRE(!little);
  BOOST_TEST((little.error().code == inlay::ErrorCode::kOutOfMemory));
  BOOST_TEST(little.error().field.view() == "scratch");
  BOOST_TEST((tokenizer->Encode(text, {}, {}, ids).error().code == inlay::ErrorCode::kOutOfMemory));
}

BOOST_AUTO_TEST_CASE(TheWorstTextFitsTheScratch) {
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(VocabFile());
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  for (const std::string unit : {" ", "a", "aab", "\xE2\x96\x81", "\xFF",
                                 "\xC3\xA9"
                                 "a"}) {
    std::string text;
    for (int i = 0; i < 200; ++i) {
      text += unit;
      // Memory of exactly the promised size, so that a sanitizer sees the first byte too many.
      BOOST_REQUIRE(!Encode(*tokenizer, text).empty());
    }
  }
}

// Half as many pairs again as there are symbols wait at one time here.
BOOST_AUTO_TEST_CASE(TheFullestQueue) {
  VocabFile file;
  file.tokens = inlay_test::TokensWithBytes();
  file.tokens.push_back({"ab", 10, inlay_test::kNormal});
  for (const char* piece : {"ba", "aba", "abab", "bab"}) file.tokens.push_back({piece, 0, inlay_test::kNormal});
  file.Flag("tokenizer.ggml.add_space_prefix", false);
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  std::string text;
  for (int i = 0; i < 100; ++i) {
    text += i % 2 == 0 ? 'a' : 'b';
    BOOST_TEST(Encode(*tokenizer, text) == SlowEncode(file.tokens, text), boost::test_tools::per_element());
  }
}

// A million equal characters: no recursion, no quadratic loop, no heap.
BOOST_AUTO_TEST_CASE(AMillionEqualCharacters) {
  const VocabFile file;
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  for (const char c : {'a', ' ', 'b', '\xFF'}) {
    const std::string text(1000000, c);
    const TokenIds ids = inlay_test::EncodeOnSmallStack(*tokenizer, text);
    const TokenId most = c == 'a'   ? inlay_test::IdOf(file.tokens, "aaaaaaaa")
                         : c == ' ' ? inlay_test::IdOf(file.tokens, "\xE2\x96\x81\xE2\x96\x81")
                         : c == 'b' ? inlay_test::IdOf(file.tokens, "b")
                                    : 3 + 0xFF;
    const std::size_t each = c == 'a' ? 8 : c == ' ' ? 2 : 1;
    BOOST_TEST(static_cast<std::size_t>(std::count(ids.begin(), ids.end(), most)) >= 1000000 / each - 2);
    BOOST_TEST(ids.size() <= 1000000 / each + 3);
    BOOST_TEST(
        (inlay_test::Detokenize(*tokenizer, ids, {.leading_space = inlay::LeadingSpace::kStripFirst}) == text));
  }
}

// In a long text most words are copies of tokens computed before; each must have those that it has alone.
BOOST_AUTO_TEST_CASE(RepeatedWords) {
  inlay::Pcg32 random(23);
  for (int round = 0; round < 20; ++round) {
    VocabFile file;
    const bool spaces_inside = round % 4 >= 2;
    file.tokens = RandomTokens(random, spaces_inside);
    file.Flag("tokenizer.ggml.add_space_prefix", round % 2 == 0);
    const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
    BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
    std::vector<std::string> words;
    for (int i = 0; i < 12; ++i) words.push_back(RandomText(random));
    std::string text = "a";
    while (text.size() < 700) text += " " + words[random.Next() % words.size()];
    const std::string prefix = round % 2 == 0 ? " " : "";
    const TokenIds expected = SlowEncode(file.tokens, prefix + text);
    BOOST_TEST(Encode(*tokenizer, text) == expected, boost::test_tools::per_element());
    // Where there is room for one word only, there is none to remember words.
    std::vector<std::byte> scratch(inlay::SentencePieceBpe::ScratchBytes(200));
    TokenIds ids(tokenizer->MaxTokens(text.size()));
    ids.resize(tokenizer->Encode(text, {.add_special = false}, scratch, ids).value_or(0));
    if (!spaces_inside) BOOST_TEST(ids == expected, boost::test_tools::per_element());
    // The tokens for which there is no room are counted all the same.
    TokenIds few(expected.size() / 2);
    std::vector<std::byte> all(inlay::SentencePieceBpe::ScratchBytes(text.size()));
    const auto count = tokenizer->Encode(text, {.add_special = false}, all, few);
    BOOST_REQUIRE(!count);
    BOOST_TEST(count.error().detail.view() == "has " + std::to_string(expected.size()) + " tokens, there is room for " +
                                                  std::to_string(few.size()));
  }
}

BOOST_AUTO_TEST_CASE(NothingIsAllocated) {
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(VocabFile());
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const std::string text = "abc defg [x] \xFF <|end|> aaaaaaaaa";
  std::vector<std::byte> scratch(inlay::SentencePieceBpe::ScratchBytes(text.size()));
  TokenIds ids(tokenizer->MaxTokens(text.size()));
  const inlay_test::AllocationScope scope;
  const bool fine = tokenizer->Encode(text, {.parse_special = true}, scratch, ids).has_value();
  const auto counts = scope.counts();
  BOOST_TEST(fine);
  BOOST_TEST(counts.allocations == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
