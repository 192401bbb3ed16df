// Text in a fixed buffer: error messages and tensor names are built without heap, locale or iostream.
#ifndef INLAY_CORE_TEXT_BUFFER_HPP_
#define INLAY_CORE_TEXT_BUFFER_HPP_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// Holds up to kCapacity - 1 bytes and a terminating NUL. Text that does not fit is cut at a UTF-8 character and ends in
// "..." so that a reader sees that something is missing. Trivially copyable.
template <std::size_t kCapacity>
class TextBuffer {
  static_assert(kCapacity >= 8);

 public:
  constexpr TextBuffer() = default;
  template <class... Parts>
    requires(sizeof...(Parts) > 0)
  constexpr explicit TextBuffer(const Parts&... parts) {
    (Append(parts), ...);
  }

  constexpr std::string_view view() const { return {data_, size_}; }
  constexpr const char* c_str() const { return data_; }
  constexpr std::size_t size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }

  // Not inlined: text is built where something failed, and speed is not the point there.
  [[gnu::noinline, gnu::cold]] constexpr TextBuffer& Append(std::string_view text) {
    if (cut_) return *this;
    const std::size_t room = kCapacity - 1 - size_;
    std::size_t count = text.size();
    if (count > room) {
      cut_ = true;
      count = room >= 3 ? room - 3 : 0;
      while (count > 0 && (static_cast<unsigned char>(text[count]) & 0xC0) == 0x80) --count;
    }
    for (std::size_t i = 0; i < count; ++i) data_[size_ + i] = text[i];
    size_ += count;
    if (cut_) {
      if (size_ > kCapacity - 4) {
        size_ = kCapacity - 4;
        while (size_ > 0 && (static_cast<unsigned char>(data_[size_]) & 0xC0) == 0x80) --size_;
      }
      for (int i = 0; i < 3; ++i) data_[size_++] = '.';
    }
    data_[size_] = '\0';
    return *this;
  }
  constexpr TextBuffer& Append(const char* text) { return Append(std::string_view(text)); }
  constexpr TextBuffer& Append(char c) { return Append(std::string_view(&c, 1)); }

  template <class Integer>
    requires(std::is_integral_v<Integer> && !std::is_same_v<Integer, char> && !std::is_same_v<Integer, bool>)
  [[gnu::noinline, gnu::cold]] constexpr TextBuffer& Append(Integer value) {
    char digits[24] = {};
    std::size_t at = sizeof(digits);
    const bool negative = value < 0;
    // Negating the most negative value is done in unsigned arithmetic, where it is defined.
    std::uint64_t rest = static_cast<std::uint64_t>(value);
    if (negative) rest = 0 - rest;
    do {
      digits[--at] = static_cast<char>('0' + rest % 10);
      rest /= 10;
    } while (rest != 0);
    if (negative) digits[--at] = '-';
    return Append(std::string_view(digits + at, sizeof(digits) - at));
  }

 private:
  char data_[kCapacity] = {};
  std::size_t size_ = 0;
  bool cut_ = false;
};

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_TEXT_BUFFER_HPP_
