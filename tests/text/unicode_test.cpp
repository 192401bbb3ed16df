// The tables of characters, all of them against sums over the whole of Unicode, and some by name.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "inlay/text/byte_mapping.hpp"
#include "inlay/text/unicode.hpp"
#include "inlay/text/unicode_folding.hpp"
#include "inlay/text/utf8.hpp"

namespace {

constexpr char32_t kEnd = 0x110000;

}  // namespace

BOOST_AUTO_TEST_SUITE(text_unicode)

// The numbers are those of Python's unicodedata for Unicode 15.1.
BOOST_AUTO_TEST_CASE(EveryCharacterHasOneKind) {
  constexpr std::array<std::size_t, 13> kCounts = {824718, 139745, 1831, 2233, 31,   397, 132234,
                                                   2450,   680,    1151, 842,  7775, 25};
  std::array<std::size_t, 13> counts{};
  for (char32_t c = 0; c < kEnd; ++c) {
    const inlay::CharacterKinds kind = inlay::KindOf(c);
    BOOST_REQUIRE(std::has_single_bit(kind));
    ++counts[static_cast<std::size_t>(std::countr_zero(kind))];
  }
  BOOST_TEST(counts == kCounts, boost::test_tools::per_element());
  BOOST_TEST(inlay::KindOf(0xFFFFFFFF) == inlay::kUnassigned);
}

BOOST_AUTO_TEST_CASE(KindsByName) {
  const struct {
    char32_t character;
    inlay::CharacterKinds kind;
  } cases[] = {
      {0x00, inlay::kControlCharacter},
      {'\t', inlay::kWhiteSpace},
      {'\r', inlay::kWhiteSpace},
      {0x1C, inlay::kControlCharacter},
      {' ', inlay::kWhiteSpace},
      {'!', inlay::kPunctuation},
      {'$', inlay::kSymbol},
      {'0', inlay::kDecimal},
      {'A', inlay::kUpperLetter},
      {'_', inlay::kPunctuation},
      {'`', inlay::kSymbol},
      {'z', inlay::kLowerLetter},
      {0x7F, inlay::kControlCharacter},
      {0x85, inlay::kWhiteSpace},
      {0xA0, inlay::kWhiteSpace},
      {0xAA, inlay::kOtherLetter},
      {0xAD, inlay::kControlCharacter},
      {0xB2, inlay::kOtherNumber},
      {0xDF, inlay::kLowerLetter},
      {0x1C5, inlay::kTitleLetter},
      {0x2B0, inlay::kModifierLetter},
      {0x301, inlay::kMark},
      {0x378, inlay::kUnassigned},
      {0x660, inlay::kDecimal},
      {0x903, inlay::kMark},
      {0x1680, inlay::kWhiteSpace},
      {0x180E, inlay::kControlCharacter},
      {0x200B, inlay::kControlCharacter},
      {0x2028, inlay::kWhiteSpace},
      {0x2160, inlay::kOtherNumber},
      {0x20DD, inlay::kMark},
      {0x3000, inlay::kWhiteSpace},
      {0x4E2D, inlay::kOtherLetter},
      {0xAC00, inlay::kOtherLetter},
      {0xD800, inlay::kControlCharacter},
      {0xE000, inlay::kControlCharacter},
      {0xFFFD, inlay::kSymbol},
      {0x1F600, inlay::kSymbol},
      {0x2EBF0, inlay::kOtherLetter},
      {0x323AF, inlay::kOtherLetter},
      {0x323B0, inlay::kUnassigned},
      {0xE0001, inlay::kControlCharacter},
      {0xE0100, inlay::kMark},
      {0x10FFFD, inlay::kControlCharacter},
      {0x10FFFF, inlay::kUnassigned},
  };
  for (const auto& c : cases) BOOST_TEST(inlay::KindOf(c.character) == c.kind, static_cast<std::uint32_t>(c.character));
}

BOOST_AUTO_TEST_CASE(ReadingCharacters) {
  const auto read = [](std::string_view text) { return inlay::ReadCharacter(text); };
  BOOST_TEST(static_cast<std::uint32_t>(read("a\xC3").code_point) == 'a');
  BOOST_TEST(read("\xC3\x89q").size == 2u);
  BOOST_TEST(read("\xC3\x89q").Is(inlay::kUpperLetter));
  // What is not valid is a symbol, of as many bytes as could have begun a character.
  for (const char* text : {"\xFF", "\xC3", "\xC3(", "\xED\xA0\x80"}) {
    BOOST_TEST(read(text).Is(inlay::kSymbol));
    BOOST_TEST(read(text).size == 1u);
  }
  BOOST_TEST(read("\xF0\x9F\x98").size == 3u);
}

// Sums from Python's unicodedata, as above: how many characters change, and what all of them become together.
BOOST_AUTO_TEST_CASE(Folding) {
  std::uint64_t lowered = 0, lower_sum = 0, based = 0, base_sum = 0;
  for (char32_t c = 0; c < kEnd; ++c) {
    const char32_t lower = inlay::ToLower(c), base = inlay::BaseCharacter(c);
    if (lower != c) {
      ++lowered;
      lower_sum += lower;
    }
    if (base != c) {
      ++based;
      base_sum += base;
    }
  }
  BOOST_TEST(lowered == 1433u);
  BOOST_TEST(lower_sum == 34914171u);
  BOOST_TEST(based == 13233u);
  BOOST_TEST(base_sum == 95020206u);
  const struct {
    char32_t from, lower, base;
  } cases[] = {{'A', 'a', 'A'},          {'[', '[', '['},           {0xC9, 0xE9, 'E'},
               {0x130, 'i', 'I'},        {0x1E9E, 0xDF, 0x1E9E},    {0x1C4, 0x1C6, 0x1C4},
               {0x23A, 0x2C65, 0x23A},   {0x3A9, 0x3C9, 0x3A9},     {0x1F88, 0x1F80, 0x391},
               {0xAC01, 0xAC01, 0x1100}, {0xFA6C, 0xFA6C, 0x242EE}, {0x10400, 0x10428, 0x10400}};
  for (const auto& c : cases) {
    BOOST_TEST(static_cast<std::uint32_t>(inlay::ToLower(c.from)) == static_cast<std::uint32_t>(c.lower));
    BOOST_TEST(static_cast<std::uint32_t>(inlay::BaseCharacter(c.from)) == static_cast<std::uint32_t>(c.base));
  }
}

BOOST_AUTO_TEST_CASE(EncodingIsTheInverseOfDecoding) {
  for (char32_t c = 0; c < kEnd; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    char text[4];
    const std::size_t size = inlay::EncodeUtf8(c, text);
    const inlay::Utf8Character character = inlay::DecodeUtf8({text, size});
    BOOST_REQUIRE(character.valid);
    BOOST_REQUIRE(character.size == size);
    BOOST_REQUIRE((character.code_point == c));
  }
}

BOOST_AUTO_TEST_CASE(BytesAsCharacters) {
  std::set<char32_t> seen;
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t character = inlay::CharacterOfByte(static_cast<std::uint8_t>(byte));
    seen.insert(character);
    BOOST_TEST(inlay::ByteOfCharacter(character) == byte);
    BOOST_TEST((inlay::KindOf(character) & (inlay::kWhiteSpace | inlay::kControlCharacter)) == 0);
  }
  BOOST_TEST(seen.size() == 256u);
  int mapped = 0;
  for (char32_t c = 0; c < kEnd; ++c) mapped += inlay::ByteOfCharacter(c) >= 0 ? 1 : 0;
  BOOST_TEST(mapped == 256);
  BOOST_TEST(static_cast<std::uint32_t>(inlay::CharacterOfByte(' ')) == 0x120u);
  BOOST_TEST(static_cast<std::uint32_t>(inlay::CharacterOfByte('\n')) == 0x10Au);
  BOOST_TEST(static_cast<std::uint32_t>(inlay::CharacterOfByte('a')) == 'a');
  BOOST_TEST(static_cast<std::uint32_t>(inlay::CharacterOfByte(0x7F)) == 0x121u);
  BOOST_TEST(static_cast<std::uint32_t>(inlay::CharacterOfByte(0xAD)) == 0x143u);
}

BOOST_AUTO_TEST_SUITE_END()
