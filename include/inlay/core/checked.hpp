// Overflow-safe size arithmetic: sizes that come from a file are combined only with these.
#ifndef INLAY_CORE_CHECKED_HPP_
#define INLAY_CORE_CHECKED_HPP_

#include <cstddef>
#include <cstdint>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// out = a * b; false (and out untouched in meaning) when it does not fit.
constexpr bool CheckedMultiply(std::uint64_t a, std::uint64_t b, std::uint64_t& out) {
  return !__builtin_mul_overflow(a, b, &out);
}
constexpr bool CheckedAdd(std::uint64_t a, std::uint64_t b, std::uint64_t& out) {
  return !__builtin_add_overflow(a, b, &out);
}

// Rounds up to a multiple of `alignment` (any positive number). The caller knows that it cannot overflow.
constexpr std::size_t RoundUp(std::size_t value, std::size_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}
constexpr std::size_t DivideUp(std::size_t value, std::size_t divisor) { return (value + divisor - 1) / divisor; }

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_CHECKED_HPP_
