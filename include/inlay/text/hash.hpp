// The hash of a stretch of text. Only this process sees the values, so byte order does not matter.
#ifndef INLAY_TEXT_HASH_HPP_
#define INLAY_TEXT_HASH_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE
namespace detail {

inline constexpr std::uint64_t kHashFactor = 0xD6E8FEB86659FD93ULL;

constexpr std::uint64_t FoldHash(std::uint64_t value) {
  value *= kHashFactor;
  return value ^ (value >> 32);
}

template <class Word>
Word LoadWord(const char* from) {
  Word word = 0;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

// Multiply and fold, eight bytes at a time, the last ones overlapping. `text` is not empty.
inline std::uint32_t HashText(std::string_view text) {
  const char* bytes = text.data();
  const std::size_t size = text.size();
  std::uint64_t hash = size * kHashFactor;
  if (size >= 8) {
    for (std::size_t at = 0; at + 8 < size; at += 8) hash = FoldHash(hash ^ LoadWord<std::uint64_t>(bytes + at));
    hash ^= LoadWord<std::uint64_t>(bytes + size - 8);
  } else if (size >= 4) {
    hash ^= std::uint64_t{LoadWord<std::uint32_t>(bytes)} << 32 | LoadWord<std::uint32_t>(bytes + size - 4);
  } else {
    const auto byte = [bytes](std::size_t i) { return std::uint64_t{static_cast<std::uint8_t>(bytes[i])}; };
    hash ^= byte(0) << 16 | byte(size / 2) << 8 | byte(size - 1);
  }
  return static_cast<std::uint32_t>((FoldHash(hash) * kHashFactor) >> 32);
}

// A place in a table of `size` slots, which need not be a power of two.
constexpr std::size_t SlotOf(std::uint32_t hash, std::size_t size) {
  return static_cast<std::size_t>(std::uint64_t{hash} * size >> 32);
}

}  // namespace detail
INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_HASH_HPP_
