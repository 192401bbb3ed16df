#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "inlay/text/utf8.hpp"

namespace {

static_assert(inlay::IsValidUtf8("") && inlay::IsValidUtf8(std::string_view("a\0b", 3)));
static_assert(inlay::IncompleteUtf8Suffix("") == 0);

std::string EncodeUtf8(char32_t c) {
  const auto byte = [](char32_t bits) { return static_cast<char>(static_cast<unsigned char>(bits)); };
  if (c < 0x80) return {byte(c)};
  if (c < 0x800) return {byte(0xC0 | c >> 6), byte(0x80 | (c & 63))};
  if (c < 0x10000) return {byte(0xE0 | c >> 12), byte(0x80 | (c >> 6 & 63)), byte(0x80 | (c & 63))};
  return {byte(0xF0 | c >> 18), byte(0x80 | (c >> 12 & 63)), byte(0x80 | (c >> 6 & 63)), byte(0x80 | (c & 63))};
}

bool IsScalar(char32_t c) { return c < 0x110000 && (c < 0xD800 || c > 0xDFFF); }

// Every proper beginning of every character.
const std::set<std::string>& Beginnings() {
  static const std::set<std::string> all = [] {
    std::set<std::string> beginnings;
    for (char32_t c = 0x80; c < 0x110000; ++c) {
      if (!IsScalar(c)) continue;
      const std::string text = EncodeUtf8(c);
      for (std::size_t size = 1; size < text.size(); ++size) beginnings.insert(text.substr(0, size));
    }
    return beginnings;
  }();
  return all;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(text_utf8)

BOOST_AUTO_TEST_CASE(EveryCharacterIsRead) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    const std::string text = EncodeUtf8(c);
    const inlay::Utf8Character read = inlay::DecodeUtf8(text);
    BOOST_REQUIRE_EQUAL(read.valid, IsScalar(c));
    BOOST_REQUIRE_EQUAL(inlay::IsValidUtf8(text), IsScalar(c));
    BOOST_REQUIRE_EQUAL(inlay::Utf8SizeByLead(text[0]), text.size());
    if (!read.valid) continue;
    BOOST_REQUIRE_EQUAL(static_cast<std::uint32_t>(read.code_point), static_cast<std::uint32_t>(c));
    BOOST_REQUIRE_EQUAL(read.size, text.size());
  }
}

// All texts of up to three bytes, and those of four that begin like a long character: valid exactly if they are made of
// characters; and the steps through what is invalid are the longest that could have begun a character.
BOOST_AUTO_TEST_CASE(EveryShortTextIsJudged) {
  std::set<std::string> characters;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (IsScalar(c)) characters.insert(EncodeUtf8(c));
  }
  std::size_t valid = 0;
  std::size_t wrong = 0;
  const auto check = [&](const std::string& text) {
    const inlay::Utf8Character read = inlay::DecodeUtf8(text);
    std::size_t size = 0;
    for (std::size_t count = 1; count <= text.size(); ++count) {
      if (characters.contains(text.substr(0, count))) size = count;
    }
    std::size_t longest = 1;
    while (longest < text.size() && Beginnings().contains(text.substr(0, longest + 1))) ++longest;
    const bool incomplete = size == 0 && Beginnings().contains(text);
    valid += size != 0 ? 1 : 0;
    wrong +=
        read.valid == (size != 0) && read.size == (size != 0 ? size : longest) && read.incomplete == incomplete ? 0 : 1;
  };
  // Bytes with the same role behave alike; these are the ends of every range in the standard's table of well-formed
  // sequences.
  std::string bytes;
  for (const int byte : {0x00, 0x20, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF,
                         0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF}) {
    bytes.push_back(static_cast<char>(byte));
  }
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      check({static_cast<char>(first)});
      check({static_cast<char>(first), static_cast<char>(second)});
      for (const char third : bytes) {
        check({static_cast<char>(first), static_cast<char>(second), third});
        for (const char fourth : bytes) {
          if (first >= 0xEF) check({static_cast<char>(first), static_cast<char>(second), third, fourth});
        }
      }
    }
  }
  BOOST_TEST(wrong == 0u);
  BOOST_TEST(valid > 100000u);
}

BOOST_AUTO_TEST_CASE(FirstInvalidByteIsFound) {
  BOOST_TEST(inlay::FindInvalidUtf8("abc") == 3u);
  BOOST_TEST(inlay::FindInvalidUtf8("ab\xFF"
                                    "c") == 2u);
  BOOST_TEST(inlay::FindInvalidUtf8("\xE2\x96\x81\xE2\x96") == 3u);
  BOOST_TEST(inlay::FindInvalidUtf8("\xC0\x80") == 0u);
  BOOST_TEST(inlay::FindInvalidUtf8("a\xED\xA0\x80") == 1u);
}

BOOST_AUTO_TEST_CASE(IncompleteEndsAreCounted) {
  for (const std::string& beginning : Beginnings()) {
    for (const std::string before : {"", "a", "\xE2\x96\x81", "\xFF", "\x80\x80\x80"}) {
      BOOST_REQUIRE_EQUAL(inlay::IncompleteUtf8Suffix(before + beginning), beginning.size());
      BOOST_REQUIRE_EQUAL(inlay::IncompleteUtf8Suffix(before + beginning + "a"), 0u);
    }
  }
  // What can never become a character is not waited for.
  for (const std::string_view text : {"\x80", "a\xC0", "\xC1", "\xE0\x80", "\xED\xA0", "\xF0\x80", "\xF4\x90", "\xF5",
                                      "\xFF", "\xE2\x96\x81", "\xF0\x9F\x98\x80", "\xC3\xA9", "\x80\x80\x80\x80"}) {
    BOOST_TEST(inlay::IncompleteUtf8Suffix(text) == 0u);
  }
}

BOOST_AUTO_TEST_SUITE_END()
