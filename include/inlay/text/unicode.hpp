// What the tokenisers ask of Unicode: the kind of a character, its lower case, its letter without accents. The tables
// are in two files, so that a program that never folds letters does not carry how.
#ifndef INLAY_TEXT_UNICODE_HPP_
#define INLAY_TEXT_UNICODE_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "inlay/core/macros.hpp"
#include "inlay/text/unicode_tables.hpp"
#include "inlay/text/utf8.hpp"

INLAY_BEGIN_NAMESPACE

// A set of kinds of characters; every character has exactly one. Kinds are the general categories, but for white space,
// which takes along the control characters that are spaces (tab to carriage return, next line).
using CharacterKinds = std::uint16_t;
inline constexpr CharacterKinds kUnassigned = 1 << 0;
inline constexpr CharacterKinds kControlCharacter = 1 << 1;  // control, format, private use
inline constexpr CharacterKinds kUpperLetter = 1 << 2;
inline constexpr CharacterKinds kLowerLetter = 1 << 3;
inline constexpr CharacterKinds kTitleLetter = 1 << 4;
inline constexpr CharacterKinds kModifierLetter = 1 << 5;
inline constexpr CharacterKinds kOtherLetter = 1 << 6;
inline constexpr CharacterKinds kMark = 1 << 7;
inline constexpr CharacterKinds kDecimal = 1 << 8;
inline constexpr CharacterKinds kOtherNumber = 1 << 9;
inline constexpr CharacterKinds kPunctuation = 1 << 10;
inline constexpr CharacterKinds kSymbol = 1 << 11;
inline constexpr CharacterKinds kWhiteSpace = 1 << 12;

inline constexpr CharacterKinds kCased = kUpperLetter | kLowerLetter | kTitleLetter;
inline constexpr CharacterKinds kLetter = kCased | kModifierLetter | kOtherLetter;
inline constexpr CharacterKinds kNumber = kDecimal | kOtherNumber;

namespace detail {

constexpr CharacterKinds LookUpKind(char32_t code_point) {
  if (code_point < kClassTableEnd) {
    const std::uint32_t block = kClassBlockOf[code_point >> kClassBlockBits];
    const std::uint32_t within = code_point & ((1u << kClassBlockBits) - 1);
    const std::uint32_t pair = kClassBlocks[((block << kClassBlockBits) + within) / 2];
    return static_cast<CharacterKinds>(1u << (pair >> (within % 2 * 4) & 15));
  }
  // Tags, variation selectors and private use: all there is beyond the table.
  if (code_point >= 0xE0100 && code_point <= 0xE01EF) return kMark;
  const bool tag = code_point == 0xE0001 || (code_point >= 0xE0020 && code_point <= 0xE007F);
  const bool is_private = code_point >= 0xF0000 && code_point <= 0x10FFFD && (code_point & 0xFFFF) < 0xFFFE;
  return tag || is_private ? kControlCharacter : kUnassigned;
}

inline constexpr std::array<CharacterKinds, 128> kAsciiKinds = [] {
  std::array<CharacterKinds, 128> kinds{};
  for (std::uint32_t c = 0; c < 128; ++c) kinds[c] = LookUpKind(c);
  return kinds;
}();

}  // namespace detail

// Code points beyond U+10FFFF and surrogates have a kind too (unassigned, control).
constexpr CharacterKinds KindOf(char32_t code_point) {
  return code_point < 128 ? detail::kAsciiKinds[code_point] : detail::LookUpKind(code_point);
}

// A character of a text with its kind. Bytes that are no valid UTF-8 are a symbol, the replacement character's kind.
struct Character {
  char32_t code_point;
  std::uint32_t size;  // bytes
  CharacterKinds kind;

  bool Is(CharacterKinds kinds) const { return (kind & kinds) != 0; }
};

// The character at the start of `text`, which must not be empty.
inline Character ReadCharacter(std::string_view text) {
  const std::uint8_t first = static_cast<std::uint8_t>(text[0]);
  if (first < 128) return {first, 1, detail::kAsciiKinds[first]};
  const Utf8Character character = DecodeUtf8(text);
  return {character.code_point, character.size, character.valid ? KindOf(character.code_point) : kSymbol};
}

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_UNICODE_HPP_
