// UTF-8: reading characters, finding where a text is not valid, and how much of its end is a character still to come.
// Apart from the tokenisers because the detokeniser and whoever prints text need it too.
#ifndef INLAY_TEXT_UTF8_HPP_
#define INLAY_TEXT_UTF8_HPP_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// One step through a text. `size` is the bytes taken, never 0: those of a valid character, or of the longest run that
// could have begun one (the "maximal subpart" of the Unicode standard, chapter 3.9), which is then not valid.
struct Utf8Character {
  char32_t code_point = 0xFFFD;
  std::uint32_t size = 1;
  bool valid = false;
  // The text ended inside a character that was valid up to there.
  bool incomplete = false;
};

// Reads the character at the start of `text`, which must not be empty. Overlong forms, surrogates and code points
// beyond U+10FFFF are not valid.
constexpr Utf8Character DecodeUtf8(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {.code_point = lead, .size = 1, .valid = true};
  if (lead < 0xC2 || lead > 0xF4) return {};

  const std::uint32_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // Only the second byte has bounds that depend on the first: they rule out overlong forms, surrogates and the end.
  std::uint8_t low = 0x80;
  std::uint8_t high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;

  char32_t code_point = lead & (0xFFu >> (size + 1));
  for (std::uint32_t i = 1; i < size; ++i) {
    if (i == text.size()) return {.size = i, .incomplete = true};
    if (byte(i) < low || byte(i) > high) return {.size = i};
    code_point = (code_point << 6) | (byte(i) & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {.code_point = code_point, .size = size, .valid = true};
}

// Writes a code point (up to U+10FFFF) to `out`, which has room for 4 bytes, and returns its size.
constexpr std::uint32_t EncodeUtf8(char32_t code_point, char* out) {
  if (code_point < 0x80) {
    out[0] = static_cast<char>(code_point);
    return 1;
  }
  const std::uint32_t size = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
  for (std::uint32_t i = size - 1; i != 0; --i, code_point >>= 6) out[i] = static_cast<char>(0x80 | (code_point & 0x3F));
  out[0] = static_cast<char>(static_cast<std::uint8_t>(0xF00u >> size) | code_point);
  return size;
}

// The offset of the first byte that is not part of a valid character; text.size() when all of it is valid. Linear.
constexpr std::size_t FindInvalidUtf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const Utf8Character character = DecodeUtf8(text.substr(at));
    if (!character.valid) return at;
    at += character.size;
  }
  return at;
}

constexpr bool IsValidUtf8(std::string_view text) { return FindInvalidUtf8(text) == text.size(); }

// The number of bytes (0 to 3) at the end of `text` that begin a character whose rest has not come yet. Bytes that
// cannot become valid any more are not counted: waiting for more would not help them.
constexpr std::size_t IncompleteUtf8Suffix(std::string_view text) {
  for (std::size_t count = 1; count <= 3 && count <= text.size(); ++count) {
    const std::string_view end = text.substr(text.size() - count);
    if ((static_cast<std::uint8_t>(end[0]) & 0xC0) == 0x80) continue;
    const Utf8Character character = DecodeUtf8(end);
    return character.incomplete && character.size == count ? count : 0;
  }
  return 0;
}

// The bytes that a character takes by its first byte alone, as if what follows were well-formed: 1 for bytes that
// cannot begin one.
constexpr std::size_t Utf8SizeByLead(char lead) {
  const std::uint8_t byte = static_cast<std::uint8_t>(lead);
  return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_UTF8_HPP_
