// Reads JSON (RFC 8259) as a stream of tokens, strictly, with no memory of its own: for headers that come with files.
// Programs that build documents are better served by a JSON library.
#ifndef INLAY_FILES_JSON_READER_HPP_
#define INLAY_FILES_JSON_READER_HPP_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/byte_reader.hpp"

INLAY_BEGIN_NAMESPACE

enum class JsonEvent : std::uint8_t {
  kBeginObject,
  kEndObject,
  kBeginArray,
  kEndArray,
  kKey,  // of an object's member; its value is next
  kString,
  kNumeral,
  kTrue,
  kFalse,
  kNull,
  kEnd,  // of the text
};

constexpr std::string_view Name(JsonEvent event) {
  switch (event) {
    case JsonEvent::kBeginObject: return "an object";
    case JsonEvent::kEndObject: return "the end of an object";
    case JsonEvent::kBeginArray: return "an array";
    case JsonEvent::kEndArray: return "the end of an array";
    case JsonEvent::kKey: return "a key";
    case JsonEvent::kString: return "a string";
    case JsonEvent::kNumeral: return "a number";
    case JsonEvent::kTrue:
    case JsonEvent::kFalse: return "a boolean";
    case JsonEvent::kNull: return "null";
    case JsonEvent::kEnd: return "the end of the text";
  }
  return "unknown";
}

// Views the text.
struct JsonToken {
  JsonEvent event = JsonEvent::kEnd;
  // A key's or string's bytes between its quotes, as written; a number's digits. Empty for others.
  std::string_view text;
  bool has_escapes = false;  // `text` holds backslashes and is not what it means
  std::uint64_t offset = 0;  // where the token starts

  // A number that is written as an integer from 0 to 2^64 - 1; nothing for every other token.
  constexpr std::optional<std::uint64_t> AsUnsigned() const {
    if (event != JsonEvent::kNumeral) return {};
    std::uint64_t value = 0;
    for (const char c : text) {
      if (c < '0' || c > '9') return {};
      if (__builtin_mul_overflow(value, std::uint64_t{10}, &value) ||
          __builtin_add_overflow(value, static_cast<std::uint64_t>(c - '0'), &value)) {
        return {};
      }
    }
    return value;
  }
};

// One pass over a text that must outlive it. Every byte is looked at once; nesting is limited to kMaxDepth. Duplicate keys
// are the caller's to find. After an error the reader is of no further use.
class JsonReader {
 public:
  static constexpr unsigned kMaxDepth = 64;

  // Offsets, also those of errors, count from `base`: where the text is in its file.
  explicit JsonReader(std::string_view text, std::uint64_t base = 0) : text_(text), base_(base) {}

  // Starts inside an object, at a member: the tokens of an object that has been read once can be read again from there.
  struct InObject {};
  JsonReader(std::string_view text, std::uint64_t base, InObject)
      : text_(text), base_(base), objects_(1), depth_(1), expected_(Expected::kKey) {}

  // Errors: kBadFile (not JSON, invalid UTF-8, a control character in a string), kTruncated (the text ends inside a value),
  // kTooLarge (nested too deep). After the one value of the text, kEnd.
  Result<JsonToken> Next() {
    SkipSpace();
    if (expected_ == Expected::kNothing) {
      if (at_ != text_.size()) return Bad("the text goes on after its value");
      return JsonToken{JsonEvent::kEnd, {}, false, offset()};
    }
    if (at_ == text_.size()) return CutOff();
    if (expected_ == Expected::kCommaOrClose) {
      if (IsClose(text_[at_])) return Close();
      if (text_[at_] != ',') return Bad("a comma or the end of the array or object is missing");
      ++at_;
      SkipSpace();
      expected_ = in_object() ? Expected::kKey : Expected::kValue;
      if (at_ == text_.size()) return CutOff();
    } else if (expected_ == Expected::kFirst) {
      if (IsClose(text_[at_])) return Close();
      expected_ = in_object() ? Expected::kKey : Expected::kValue;
    }
    return expected_ == Expected::kKey ? ReadKey() : ReadValue();
  }

  // The next token, which must be `event`: kBadFile, naming `field`, when it is another.
  Result<JsonToken> Expect(JsonEvent event, std::string_view field) {
    INLAY_ASSIGN_OR_RETURN(const JsonToken token, Next());
    if (token.event == event) return token;
    return FailAt(ErrorCode::kBadFile, token.offset, field, "must be ", Name(event), ", is ", Name(token.event));
  }

  // Where the next token is looked for.
  std::uint64_t offset() const { return base_ + at_; }

 private:
  enum class Expected : std::uint8_t { kValue, kFirst, kKey, kCommaOrClose, kNothing };

  Error Bad(std::string_view why) const { return FailAt(ErrorCode::kBadFile, offset(), "JSON", why); }
  Error CutOff() const { return FailAt(ErrorCode::kTruncated, base_ + text_.size(), "JSON", "the text ends inside a value"); }

  bool in_object() const { return (objects_ & 1) != 0; }
  static bool IsClose(char c) { return c == '}' || c == ']'; }
  static bool IsDigit(char c) { return c >= '0' && c <= '9'; }

  void SkipSpace() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) ++at_;
  }

  void AfterValue() { expected_ = depth_ == 0 ? Expected::kNothing : Expected::kCommaOrClose; }

  Result<JsonToken> Open(bool object) {
    if (depth_ == kMaxDepth) {
      return FailAt(ErrorCode::kTooLarge, offset(), "JSON", "is nested more than ", kMaxDepth, " deep");
    }
    ++depth_;
    objects_ = objects_ << 1 | (object ? 1u : 0u);
    expected_ = Expected::kFirst;
    ++at_;
    return JsonToken{object ? JsonEvent::kBeginObject : JsonEvent::kBeginArray, {}, false, offset() - 1};
  }

  Result<JsonToken> Close() {
    const bool object = in_object();
    if (text_[at_] != (object ? '}' : ']')) return Bad("an array or object is closed by the other's bracket");
    --depth_;
    objects_ >>= 1;
    ++at_;
    AfterValue();
    return JsonToken{object ? JsonEvent::kEndObject : JsonEvent::kEndArray, {}, false, offset() - 1};
  }

  Result<JsonToken> ReadKey() {
    if (text_[at_] != '"') return Bad("a member of an object must start with a key in quotes");
    INLAY_ASSIGN_OR_RETURN(const JsonToken key, ReadString(JsonEvent::kKey));
    SkipSpace();
    if (at_ == text_.size()) return CutOff();
    if (text_[at_] != ':') return Bad("a colon is missing after a key");
    ++at_;
    expected_ = Expected::kValue;
    return key;
  }

  Result<JsonToken> ReadValue() {
    switch (text_[at_]) {
      case '{': return Open(true);
      case '[': return Open(false);
      case '"': {
        INLAY_ASSIGN_OR_RETURN(const JsonToken text, ReadString(JsonEvent::kString));
        AfterValue();
        return text;
      }
      case 't': return ReadWord("true", JsonEvent::kTrue);
      case 'f': return ReadWord("false", JsonEvent::kFalse);
      case 'n': return ReadWord("null", JsonEvent::kNull);
      default: return ReadNumber();
    }
  }

  Result<JsonToken> ReadWord(std::string_view word, JsonEvent event) {
    const std::string_view rest = text_.substr(at_);
    if (!rest.starts_with(word)) return word.starts_with(rest) ? CutOff() : Bad("is not a JSON value");
    const JsonToken token{event, {}, false, offset()};
    at_ += word.size();
    AfterValue();
    return token;
  }

  Result<JsonToken> ReadNumber() {
    const std::size_t start = at_;
    const auto digits = [this] {
      const std::size_t first = at_;
      while (at_ < text_.size() && IsDigit(text_[at_])) ++at_;
      return at_ != first;
    };
    const auto take = [this](char c) {
      if (at_ >= text_.size() || text_[at_] != c) return false;
      ++at_;
      return true;
    };
    const auto broken = [this] { return at_ == text_.size() ? CutOff() : Bad("is not a JSON value"); };
    take('-');
    if (!take('0') && !digits()) return broken();
    if (take('.') && !digits()) return broken();
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      if (!digits()) return broken();
    }
    const JsonToken token{JsonEvent::kNumeral, text_.substr(start, at_ - start), false, base_ + start};
    AfterValue();
    return token;
  }

  // Four hexadecimal digits from at_ on, or -1.
  int HexDigits() {
    int value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      if (at_ >= text_.size()) return -1;
      const char c = text_[at_];
      const int digit = IsDigit(c)             ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return -1;
      value = value * 16 + digit;
    }
    return value;
  }

  // Moves over an escape, whose backslash is at at_.
  bool SkipEscape() {
    ++at_;
    if (at_ >= text_.size()) return false;
    const char kind = text_[at_++];
    if (kind != 'u') return std::string_view("\"\\/bfnrt").find(kind) != std::string_view::npos;
    const int unit = HexDigits();
    if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF)) return false;
    if (unit < 0xD800 || unit > 0xDBFF) return true;
    // The first half of a pair: the second must follow.
    for (const char c : {'\\', 'u'}) {
      if (at_ >= text_.size() || text_[at_] != c) return false;
      ++at_;
    }
    const int second = HexDigits();
    return second >= 0xDC00 && second <= 0xDFFF;
  }

  Result<JsonToken> ReadString(JsonEvent event) {
    JsonToken token{event, {}, false, offset()};
    const std::size_t start = ++at_;
    while (at_ < text_.size() && text_[at_] != '"') {
      const unsigned char c = static_cast<unsigned char>(text_[at_]);
      if (c < 0x20) return Bad("a control character inside a string");
      if (c != '\\') {
        ++at_;
        continue;
      }
      token.has_escapes = true;
      if (!SkipEscape()) return at_ >= text_.size() ? CutOff() : Bad("an escape in a string is not one of JSON's");
    }
    if (at_ >= text_.size()) return CutOff();
    token.text = text_.substr(start, at_ - start);
    ++at_;
    if (!detail::IsPlainUtf8(token.text)) {
      return FailAt(ErrorCode::kBadFile, token.offset, "JSON", "a string is not valid UTF-8");
    }
    return token;
  }

  std::string_view text_;
  std::uint64_t base_;
  std::size_t at_ = 0;
  std::uint64_t objects_ = 0;  // a bit for each open array (0) and object (1), the innermost lowest
  unsigned depth_ = 0;
  Expected expected_ = Expected::kValue;
};

INLAY_END_NAMESPACE

#endif  // INLAY_FILES_JSON_READER_HPP_
