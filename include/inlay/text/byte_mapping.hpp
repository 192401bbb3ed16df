// GPT-2's spelling of bytes: each of the 256 is a printable character, so that pieces of any bytes are text. Source:
// bytes_to_unicode in the code published with Radford et al., "Language models are unsupervised multitask learners".
#ifndef INLAY_TEXT_BYTE_MAPPING_HPP_
#define INLAY_TEXT_BYTE_MAPPING_HPP_

#include <cstdint>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// Printable Latin-1 characters stand for themselves; the other 68 bytes, in order, are U+0100 and on.
constexpr char32_t CharacterOfByte(std::uint8_t byte) {
  if (byte <= 0x20) return 0x100u + byte;
  if (byte < 0x7F) return byte;
  if (byte <= 0xA0) return 0x121u + (byte - 0x7Fu);
  return byte == 0xAD ? 0x143u : byte;
}

// -1 for a character that stands for no byte.
constexpr int ByteOfCharacter(char32_t character) {
  if (character > 0x20 && character < 0x7F) return static_cast<int>(character);
  if (character > 0xA0 && character < 0x100) return character == 0xAD ? -1 : static_cast<int>(character);
  if (character >= 0x100 && character <= 0x120) return static_cast<int>(character - 0x100);
  if (character >= 0x121 && character <= 0x142) return static_cast<int>(character - 0x121 + 0x7F);
  return character == 0x143 ? 0xAD : -1;
}

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_BYTE_MAPPING_HPP_
