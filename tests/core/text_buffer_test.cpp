#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>

#include "inlay/core/text_buffer.hpp"

namespace {

// True when every sequence is complete; overlong forms and surrogates are not the subject here.
bool IsWholeUtf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t length = byte < 0x80 ? 1 : byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 0;
    if (length == 0 || i + length > text.size()) return false;
    for (std::size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(core_text_buffer)

BOOST_AUTO_TEST_CASE(AppendsTextAndIntegers) {
  inlay::TextBuffer<96> text("a", 'b', std::string_view("cd"), 12, std::int64_t{-7});
  text.Append(std::uint8_t{255}).Append(' ').Append(std::numeric_limits<std::int64_t>::min());
  BOOST_TEST(text.view() == "abcd12-7255 -9223372036854775808");
  text.Append(' ').Append(std::numeric_limits<std::uint64_t>::max()).Append(' ').Append(0);
  BOOST_TEST(text.view() == "abcd12-7255 -9223372036854775808 18446744073709551615 0");
  BOOST_TEST(std::strlen(text.c_str()) == text.size());
}

BOOST_AUTO_TEST_CASE(FillsToTheLastByte) {
  const inlay::TextBuffer<8> exact("1234567");
  BOOST_TEST(exact.view() == "1234567");
  BOOST_TEST(exact.c_str()[7] == '\0');
  const inlay::TextBuffer<8> cut("12345678");
  BOOST_TEST(cut.view() == "1234...");
}

BOOST_AUTO_TEST_CASE(CutsAtACharacter) {
  // Every split of the text into two appends, with characters of one to four bytes around the end.
  const std::string text = "a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80" "b\xF0\x9F\x98\x80\xE2\x82\xAC\xC3\xA4z\xC3\xA4";
  for (std::size_t first = 0; first <= text.size(); ++first) {
    if (!IsWholeUtf8(text.substr(0, first))) continue;
    for (std::size_t second = first; second <= text.size(); ++second) {
      if (!IsWholeUtf8(text.substr(first, second - first))) continue;
      inlay::TextBuffer<16> buffer;
      buffer.Append(std::string_view(text).substr(0, first));
      buffer.Append(std::string_view(text).substr(first, second - first));
      BOOST_TEST(IsWholeUtf8(buffer.view()), "cut inside a character: " << first << " + " << second - first);
      BOOST_TEST(buffer.size() <= 15u);
      if (second <= 15) {
        BOOST_TEST(buffer.view() == text.substr(0, second));
      } else {
        BOOST_TEST(buffer.view().ends_with("..."));
        BOOST_TEST(buffer.size() >= 12u);  // a character of four bytes may be lost, and no more
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(NothingFollowsTheCut) {
  inlay::TextBuffer<8> buffer("12345678");
  buffer.Append("x").Append(5).Append('y');
  BOOST_TEST(buffer.view() == "1234...");
}

BOOST_AUTO_TEST_CASE(KeepsInvalidUtf8WithinBounds) {
  for (std::size_t size = 0; size <= 40; ++size) {
    inlay::TextBuffer<16> buffer;
    buffer.Append(std::string(size, '\x80'));
    buffer.Append(std::string(3, '\xF0'));
    BOOST_TEST(buffer.size() <= 15u);
    BOOST_TEST(buffer.c_str()[buffer.size()] == '\0');
  }
}

BOOST_AUTO_TEST_CASE(KeepsNulBytes) {
  const inlay::TextBuffer<16> buffer(std::string_view("a\0b", 3));
  BOOST_TEST(buffer.size() == 3u);
  BOOST_TEST(buffer.view()[2] == 'b');
}

BOOST_AUTO_TEST_SUITE_END()
