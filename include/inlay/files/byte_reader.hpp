// What the readers of files share: steps through bytes that say whether they stayed inside, text checks, and sorting without
// memory or recursion.
#ifndef INLAY_FILES_BYTE_READER_HPP_
#define INLAY_FILES_BYTE_READER_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

namespace detail {

template <class T>
T LoadAs(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// Well-formed UTF-8 (no overlong forms, surrogates or values beyond U+10FFFF) without NUL.
inline bool IsPlainUtf8(std::string_view text) {
  const auto byte_at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned lead = byte_at(i);
    if (lead == 0) return false;
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size() - i < length) return false;
    for (std::size_t k = 1; k < length; ++k) {
      if ((byte_at(i + k) & 0xC0) != 0x80) return false;
    }
    const unsigned second = byte_at(i + 1);
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) || (lead == 0xF0 && second < 0x90) ||
        (lead == 0xF4 && second > 0x8F)) {
      return false;
    }
    i += length;
  }
  return true;
}

// Reads forward through bytes; every step says whether it stayed inside.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes, std::uint64_t at = 0) : bytes_(bytes), at_(at) {}

  std::uint64_t at() const { return at_; }
  std::uint64_t remaining() const { return bytes_.size() - at_; }
  const std::byte* here() const { return bytes_.data() + at_; }

  [[nodiscard]] bool Skip(std::uint64_t count) {
    if (count > remaining()) return false;
    at_ += count;
    return true;
  }
  template <class T>
  [[nodiscard]] bool Read(T& value) {
    if (remaining() < sizeof(T)) return false;
    value = LoadAs<T>(here());
    at_ += sizeof(T);
    return true;
  }
  [[nodiscard]] bool ReadString(std::string_view& text) {
    std::uint64_t length = 0;
    if (!Read(length) || length > remaining()) return false;
    text = {reinterpret_cast<const char*>(here()), static_cast<std::size_t>(length)};
    at_ += length;
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  std::uint64_t at_;
};

// Sorts indices by a key in place: O(n log n) for every input, no recursion, no memory.
template <class Less>
void SortIndices(std::span<std::uint32_t> indices, Less less) {
  std::make_heap(indices.begin(), indices.end(), less);
  std::sort_heap(indices.begin(), indices.end(), less);
}

}  // namespace detail

INLAY_END_NAMESPACE

#endif  // INLAY_FILES_BYTE_READER_HPP_
