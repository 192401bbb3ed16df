// The unigram model against one that tries every way to spell a text, and the table that normalises text before it.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
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
using inlay_test::Encode;
using inlay_test::IdOf;
using inlay_test::OpenTokenizer;
using inlay_test::TestTokens;
using inlay_test::TokenIds;
using inlay_test::VocabFile;

const std::string kMark(inlay::kSpaceMark);

// The table of these replacements: each unit of the double array that has children has a block of 256 for them.
std::string CharacterTable(const std::vector<std::pair<std::string, std::string>>& replacements) {
  std::vector<std::uint32_t> units(512);
  units[0] = 256 << 10;  // the root's children are in the block from 256 on
  std::string texts;
  std::map<std::string, std::uint32_t> blocks = {{"", 256}};
  for (const auto& [key, replacement] : replacements) {
    for (std::size_t size = 1; size <= key.size(); ++size) {
      const std::string prefix = key.substr(0, size);
      if (blocks.contains(prefix)) continue;
      const std::uint32_t unit = blocks[key.substr(0, size - 1)] + static_cast<unsigned char>(key[size - 1]);
      const std::uint32_t block = static_cast<std::uint32_t>(units.size());
      units.resize(units.size() + 256);
      units[unit] = (unit ^ block) << 10 | static_cast<unsigned char>(key[size - 1]);
      blocks[prefix] = block;
    }
    const std::uint32_t parent = blocks[key.substr(0, key.size() - 1)] + static_cast<unsigned char>(key.back());
    units[parent] |= 0x100;
    units[blocks[key]] = 0x80000000u | static_cast<std::uint32_t>(texts.size());
    texts += replacement + '\0';
  }
  std::string table;
  const auto put = [&](std::uint32_t value) {
    for (int i = 0; i < 4; ++i) table += static_cast<char>(value >> (8 * i) & 255);
  };
  put(static_cast<std::uint32_t>(4 * units.size()));
  for (const std::uint32_t unit : units) put(unit);
  return table + texts;
}

VocabFile UnigramFile(const std::string& table = "") {
  VocabFile file;
  file.model = "t5";
  file.tokens = {
      {"<pad>", 0, inlay_test::kControl}, {"</s>", 0, inlay_test::kControl}, {"<unk>", 0, inlay_test::kUnknown}};
  float score = -1;
  for (const std::string& piece :
       {kMark, std::string("a"), std::string("b"), std::string("ab"), kMark + "a", kMark + "ab", std::string("abab"),
        std::string("\xC3\xA9"), std::string("fi"), std::string("f"), std::string("i"), std::string("x")}) {
    file.tokens.push_back({piece, score -= 0.5f});
  }
  if (!table.empty()) {
    file.extra.Key("tokenizer.ggml.precompiled_charsmap", inlay::GgufType::kArray).Type(inlay::GgufType::kU8);
    file.extra.U64(table.size()).Raw(table);
    ++file.extra_count;
  }
  return file;
}
VocabFile& Flags(VocabFile& file, bool prefix, bool merge) {
  return file.Flag("tokenizer.ggml.add_space_prefix", prefix).Flag("tokenizer.ggml.remove_extra_whitespaces", merge);
}

// The best spelling of everything after each place, from the end; of equal ones that with the shorter last token is not
// looked for: the scores below have no ties. Unknown characters in a row are one token.
TokenIds SlowEncode(const TestTokens& tokens, const std::string& text) {
  double least = 0;
  for (const auto& token : tokens)
    least = token.type == inlay_test::kNormal ? std::min<double>(least, token.score) : least;
  struct Best {
    double score;
    TokenIds ids;
  };
  std::vector<Best> best(text.size() + 1, {-1e30, {}});
  best[text.size()].score = 0;
  for (std::size_t at = text.size(); at-- != 0;) {
    const auto lead = static_cast<unsigned char>(text[at]);
    if ((lead & 0xC0) == 0x80) continue;
    const std::size_t size = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    bool known = false;
    const auto offer = [&](std::size_t end, TokenId id, double score) {
      if (score + best[end].score <= best[at].score) return;
      best[at] = {score + best[end].score, {id}};
      best[at].ids.insert(best[at].ids.end(), best[end].ids.begin(), best[end].ids.end());
    };
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const auto& token = tokens[i];
      if (token.type != inlay_test::kNormal || text.compare(at, token.piece.size(), token.piece) != 0) continue;
      offer(at + token.piece.size(), static_cast<TokenId>(i), token.score);
      known = known || token.piece.size() == size;
    }
    if (!known) offer(at + size, 2, least - 10);
  }
  TokenIds ids;
  for (const TokenId id : best[0].ids) {
    if (id != 2 || ids.empty() || ids.back() != 2) ids.push_back(id);
  }
  return ids;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(text_unigram)

BOOST_AUTO_TEST_CASE(AgreesWithTheSlowAlgorithm) {
  inlay::Pcg32 random(41);
  for (int round = 0; round < 120; ++round) {
    VocabFile file = UnigramFile();
    // Odd multiples of powers of a small number: no two sums are equal. Some pieces have a space inside.
    for (std::uint32_t i = random.Next() % 20; i != 0; --i) {
      std::string piece = random.Next() % 2 == 0 ? "" : kMark;
      for (std::uint32_t k = 1 + random.Next() % 4; k != 0; --k) {
        piece += random.Next() % 12 == 0 ? kMark : std::string(1, "abx"[random.Next() % 3]);
      }
      if (IdOf(file.tokens, piece) == inlay::kNoToken) file.tokens.push_back({piece});
    }
    for (std::size_t i = 3; i < file.tokens.size(); ++i) {
      file.tokens[i].score = -1.0f - static_cast<float>(random.Next() % 100000) * 0.0001237f;
    }
    const OpenTokenizer tokenizer = OpenTokenizer::Gguf(Flags(file, true, true));
    BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
    std::vector<std::string> words;
    for (int i = 0; i < 6; ++i) {
      std::string& word = words.emplace_back();
      const char* letters[] = {"a", "b", "ab", "x", "\xC3\xA9", "q", "\xE4\xB8\xAD"};
      for (std::uint32_t k = 1 + random.Next() % 6; k != 0; --k) word += letters[random.Next() % 7];
    }
    for (const std::size_t size : {20u, 500u}) {
      std::string text, normal;
      while (text.size() < size) {
        const std::string& word = words[random.Next() % words.size()];
        text += std::string(random.Next() % 3 + 1, ' ') + word;
        normal += kMark + word;
      }
      BOOST_TEST(Encode(*tokenizer, text) == SlowEncode(file.tokens, normal), boost::test_tools::per_element());
    }
  }
}

BOOST_AUTO_TEST_CASE(SpacesAndMarks) {
  const auto encode = [](std::string_view text, bool prefix, bool merge) {
    VocabFile file = UnigramFile();
    const OpenTokenizer tokenizer = OpenTokenizer::Gguf(Flags(file, prefix, merge));
    BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
    std::string pieces;
    for (const TokenId id : Encode(*tokenizer, text)) pieces += "[" + std::string(tokenizer->RawPiece(id)) + "]";
    return pieces;
  };
  const std::string a = "[" + kMark + "a]", mark = "[" + kMark + "]";
  BOOST_TEST(encode("a", true, true) == a);
  BOOST_TEST(encode("  a  a ", true, true) == a + a);
  BOOST_TEST(encode("a a", true, false) == a + a);
  BOOST_TEST(encode("a  a ", true, false) == a + mark + a + mark);
  BOOST_TEST(encode("a  a", false, false) == "[a]" + mark + a);
  BOOST_TEST(encode("  ", true, true) == "");
  BOOST_TEST(encode("qq\xE4\xB8\xAD", true, true) == mark + "[<unk>]");
  BOOST_TEST(encode("\xFF", true, true) == mark + "[<unk>]");

  VocabFile file = UnigramFile();
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(Flags(file, true, true));
  BOOST_TEST((tokenizer->model() == inlay::TokenizerModel::kUnigram));
  BOOST_TEST(!tokenizer->add_bos());
  BOOST_TEST(Encode(*tokenizer, "a", {}) == (TokenIds{IdOf(file.tokens, kMark + "a"), 1}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(TextIsNormalised) {
  // A ligature, a character with its accent, a space of another kind, and one that goes.
  const std::string table = CharacterTable(
      {{"\xEF\xAC\x81", "fi"}, {"e\xCC\x81", "\xC3\xA9"}, {"\xC2\xA0", " "}, {"\xE2\x80\x8B", ""}, {"e", "x"}});
  VocabFile file = UnigramFile(table);
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(Flags(file, true, true));
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const auto check = [&](std::string_view text, std::string_view same) {
    BOOST_TEST(Encode(*tokenizer, text) == Encode(*tokenizer, same), boost::test_tools::per_element());
  };
  check("\xEF\xAC\x81", "fi");
  check("ae\xCC\x81", "a\xC3\xA9");  // the longest key
  check("ea", "xa");
  check(
      "a\xC2\xA0\xC2\xA0"
      "b",
      "a b");
  check(
      "a\xE2\x80\x8B"
      "b",
      "ab");
  std::string text, same;
  for (int i = 0; i < 200; ++i) {
    text +=
        "ae\xCC\x81 \xEF\xAC\x81\xC2\xA0"
        "e ";
    same += "a\xC3\xA9 fi x ";
  }
  check(text, same);
}

// A key with a space in it reaches over words.
BOOST_AUTO_TEST_CASE(ReplacementsOverWords) {
  VocabFile file = UnigramFile(CharacterTable({{"a b", "x"}, {"  ", " "}}));
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(Flags(file, false, false));
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  BOOST_TEST(Encode(*tokenizer, "a b  a") == (TokenIds{IdOf(file.tokens, "x"), IdOf(file.tokens, kMark + "a")}),
             boost::test_tools::per_element());
}

// One byte that becomes 250: the promised memory is enough, on a small stack.
BOOST_AUTO_TEST_CASE(TextThatGrows) {
  VocabFile file = UnigramFile(CharacterTable({{"z", std::string(250, 'a')}, {"y", std::string(60, ' ') + "b"}}));
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(Flags(file, true, false));
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  BOOST_TEST(inlay_test::EncodeOnSmallStack(*tokenizer, std::string(40, 'z')).size() > 9000u);
  BOOST_TEST(inlay_test::EncodeOnSmallStack(*tokenizer, std::string(40, 'y')).size() >= 40u * 60);
  std::vector<std::byte> scratch(2000);
  TokenIds ids(100000);
  const auto count = tokenizer->Encode(" a zzzz", {}, scratch, ids);
  BOOST_REQUIRE(!count);
  BOOST_TEST((count.error().code == ErrorCode::kOutOfMemory));
}

BOOST_AUTO_TEST_CASE(AMillionEqualCharacters) {
  VocabFile file = UnigramFile();
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(Flags(file, true, true));
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  for (const char c : {'a', 'q', ' ', '\xFF'}) {
    const TokenIds ids = inlay_test::EncodeOnSmallStack(*tokenizer, std::string(1000000, c));
    BOOST_TEST(ids.size() == (c == 'a' ? 1000000u : c == ' ' ? 0u : 2u));
  }
}

BOOST_AUTO_TEST_CASE(NothingIsAllocated) {
  VocabFile file = UnigramFile(CharacterTable({{"e", "x"}}));
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(Flags(file, true, true));
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  std::string text;
  for (int i = 0; i < 50; ++i) text += " abab e\xFF q";
  std::vector<std::byte> scratch(tokenizer->EncodeScratchBytes(text.size()));
  TokenIds ids(tokenizer->MaxTokens(text.size()));
  const inlay_test::AllocationScope scope;
  const bool fine = tokenizer->Encode(text, {}, scratch, ids).has_value();
  const auto counts = scope.counts();
  BOOST_TEST(fine);
  BOOST_TEST(counts.allocations == 0u);
}

BOOST_AUTO_TEST_CASE(BadTables) {
  const std::string sound = CharacterTable({{"ab", "x"}, {"c", "yy"}});
  BOOST_REQUIRE(OpenTokenizer::Gguf(UnigramFile(sound)));
  const auto open = [](std::string table) { return OpenTokenizer::Gguf(UnigramFile(table)); };
  const auto code = [&](std::string table) {
    const OpenTokenizer tokenizer = open(std::move(table));
    BOOST_REQUIRE(!tokenizer);
    BOOST_TEST(tokenizer.error().field.view() == "tokenizer.ggml.precompiled_charsmap");
    BOOST_TEST(tokenizer.error().offset != inlay::Error::kNoOffset);
    return tokenizer.error().code;
  };
  const auto with_unit = [](std::string table, std::size_t unit, std::uint32_t value) {
    for (int i = 0; i < 4; ++i)
      table[4 + 4 * unit + static_cast<std::size_t>(i)] = static_cast<char>(value >> (8 * i) & 255);
    return table;
  };
  BOOST_TEST((code(sound.substr(0, 3)) == ErrorCode::kTruncated));
  BOOST_TEST((code(sound.substr(0, 4)) == ErrorCode::kBadFile));
  BOOST_TEST((code(sound.substr(0, sound.size() / 2)) == ErrorCode::kBadFile));
  BOOST_TEST((code(sound.substr(0, sound.size() - 1)) == ErrorCode::kBadFile));  // the last text does not end
  // "a" leads back to where it is.
  BOOST_TEST((code(with_unit(sound, 256 + 'a', (256u ^ (256u + 'a')) << 10 | 'a')) == ErrorCode::kBadFile));
  // "c" has its value far outside.
  BOOST_TEST((code(with_unit(sound, 256 + 'c', 0x100u << 10 | 0x300u | 'c' | 0x40000000u)) == ErrorCode::kBadFile));
  BOOST_TEST((code(CharacterTable({{"a", std::string(256, 'b')}})) == ErrorCode::kTooLarge));
  BOOST_TEST((code(CharacterTable({{std::string(65, 'a'), "b"}})) == ErrorCode::kBadFile));
  // Every truncation and every flipped bit of a small part: an error, or a table that stays within its bounds.
  for (std::size_t size = 0; size < sound.size(); size += 37) static_cast<void>(open(sound.substr(0, size)));
  for (std::size_t at = 4 + 4 * 256; at < sound.size(); at += 13) {
    std::string broken = sound;
    broken[at] = static_cast<char>(broken[at] ^ (1 << at % 8));
    const OpenTokenizer tokenizer = open(broken);
    if (tokenizer) Encode(*tokenizer, "ab c abc a\xFF");
  }
}

BOOST_AUTO_TEST_SUITE_END()
