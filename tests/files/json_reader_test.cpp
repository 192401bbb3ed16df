#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/files/json_reader.hpp"

namespace {

using inlay::ErrorCode;
using inlay::JsonEvent;
using inlay::JsonReader;

// The tokens of a text, one character per structure, "K:text" and so on for the others; "!CODE@OFFSET" for an error.
std::string Read(std::string_view text, std::uint64_t base = 0) {
  JsonReader reader(text, base);
  std::string out;
  for (;;) {
    const auto token = reader.Next();
    if (!token) {
      return out + "!" + std::string(inlay::Name(token.error().code)) + "@" + std::to_string(token.error().offset);
    }
    switch (token->event) {
      case JsonEvent::kBeginObject: out += '{'; break;
      case JsonEvent::kEndObject: out += '}'; break;
      case JsonEvent::kBeginArray: out += '['; break;
      case JsonEvent::kEndArray: out += ']'; break;
      case JsonEvent::kKey: out.append("k").append(token->text).append(" "); break;
      case JsonEvent::kString: out.append(token->has_escapes ? "e" : "s").append(token->text).append(" "); break;
      case JsonEvent::kNumeral: out.append("n").append(token->text).append(" "); break;
      case JsonEvent::kTrue: out += 'T'; break;
      case JsonEvent::kFalse: out += 'F'; break;
      case JsonEvent::kNull: out += 'N'; break;
      case JsonEvent::kEnd: return out + ".";
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(files_json_reader)

BOOST_AUTO_TEST_CASE(TokensComeInOrder) {
  BOOST_TEST(Read("{}") == "{}.");
  BOOST_TEST(Read(" [ ] \n") == "[].");
  BOOST_TEST(Read("\t\"a\"\r\n") == "sa .");
  BOOST_TEST(Read(R"({"a":[1,-2.5e+3,0],"b":{"c":null,"":true},"d":[[],{}],"e":false})") ==
             "{ka [n1 n-2.5e+3 n0 ]kb {kc Nk T}kd [[]{}]ke F}.");
  BOOST_TEST(Read(R"("\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE42")") == R"(e\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE42 .)");
  BOOST_TEST(Read("\"\xC3\xA9\"") == "s\xC3\xA9 .");
}

BOOST_AUTO_TEST_CASE(WhatIsNotJsonIsRefusedWhereItStarts) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"1 2", "n1 !bad file@2"},
      {"{}}", "{}!bad file@2"},
      {"[1,]", "[n1 !bad file@3"},
      {"[,1]", "[!bad file@1"},
      {"[1 2]", "[n1 !bad file@3"},
      {"[1}", "[n1 !bad file@2"},
      {"{\"a\":1]", "{ka n1 !bad file@6"},
      {"{\"a\",1}", "{!bad file@4"},
      {"{\"a\":}", "{ka !bad file@5"},
      {"{1:2}", "{!bad file@1"},
      {"{\"a\":1,}", "{ka n1 !bad file@7"},
      {"]", "!bad file@0"},
      {"truth", "!bad file@0"},
      {"nil", "!bad file@0"},
      {"+1", "!bad file@0"},
      {"01", "n0 !bad file@1"},
      {"-a", "!bad file@1"},
      {"1.a", "!bad file@2"},
      {".5", "!bad file@0"},
      {"1ea", "!bad file@2"},
      {"NaN", "!bad file@0"},
      {"'a'", "!bad file@0"},
      {"\"a\nb\"", "!bad file@2"},
      {"\"\\x\"", "!bad file@3"},
      {"\"\\u12g4\"", "!bad file@5"},
      {"\"\\uDC00\"", "!bad file@7"},         // the second half of a pair alone
      {"\"\\uD800x\"", "!bad file@7"},        // the first half alone
      {"\"\\uD800\\u0041\"", "!bad file@13"},  // and with something else
      {"\"\xC0\x80\"", "!bad file@0"},        // overlong
      {"\"\xED\xA0\x80\"", "!bad file@0"},    // a surrogate in UTF-8
      {"\xEF\xBB\xBF{}", "!bad file@0"},      // a byte order mark
      {"// a\n1", "!bad file@0"},
  };
  for (const auto& [text, expected] : cases) BOOST_TEST(Read(text) == expected, text << " gives " << Read(text));
  BOOST_TEST(Read(std::string_view("\"\0\"", 3)) == "!bad file@1");
  BOOST_TEST(Read("[}", 100) == "[!bad file@101");
}

BOOST_AUTO_TEST_CASE(EveryTruncationIsReported) {
  const std::string_view whole = R"({"a":[1,2,"x\u00e9\uD83D\uDE42"],"b":{"c":null,"d":true,"e":false}})";
  BOOST_REQUIRE(Read(whole).ends_with("."));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string found = Read(whole.substr(0, size));
    BOOST_TEST(found.ends_with("!truncated@" + std::to_string(size)), size << ": " << found);
  }
}

// Bad input 16: a depth that would take a recursive parser's stack.
BOOST_AUTO_TEST_CASE(NestingIsLimited) {
  const std::string deepest = std::string(JsonReader::kMaxDepth, '[') + std::string(JsonReader::kMaxDepth, ']');
  BOOST_TEST(Read(deepest) == deepest + ".");
  const std::string deeper(100000, '[');
  BOOST_TEST(Read(deeper) == deeper.substr(0, JsonReader::kMaxDepth) + "!too large@" + std::to_string(JsonReader::kMaxDepth));
  // What is open is remembered at every depth.
  std::string mixed, close;
  for (unsigned i = 0; i < JsonReader::kMaxDepth; ++i) {
    mixed += i % 3 == 0 ? "[" : "{\"\":";
    close = (i % 3 == 0 ? "]" : "}") + close;
  }
  BOOST_TEST(Read(mixed + "1" + close).ends_with(close + "."));
}

BOOST_AUTO_TEST_CASE(Integers) {
  const auto number = [](std::string_view text) { return JsonReader(text).Next()->AsUnsigned(); };
  BOOST_TEST((number("0") == 0u && number("18446744073709551615") == ~std::uint64_t{0}));
  for (const char* text : {"18446744073709551616", "99999999999999999999", "-1", "1.0", "1e3", "\"1\"", "true", "-0"}) {
    BOOST_TEST(!number(text).has_value(), text);
  }
}

BOOST_AUTO_TEST_CASE(ExpectNamesTheField) {
  JsonReader reader("[1]", 7);
  BOOST_REQUIRE(reader.Expect(JsonEvent::kBeginArray, "list").has_value());
  const auto wrong = reader.Expect(JsonEvent::kString, "list");
  BOOST_REQUIRE(!wrong.has_value());
  BOOST_TEST(wrong.error().Message().view() == "bad file: list: must be a string, is a number (at byte 8)");
}

BOOST_AUTO_TEST_SUITE_END()
