// Dimensions that are either known to the compiler or read from a file, used by one and the same code.
#ifndef INLAY_CORE_EXTENTS_HPP_
#define INLAY_CORE_EXTENTS_HPP_

#include <concepts>
#include <cstddef>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// A dimension fixed at compile time. Converts to std::size_t as a constant, so loops over it unroll.
template <std::size_t kValue>
struct StaticExtent {
  static constexpr std::size_t value = kValue;
  constexpr operator std::size_t() const { return kValue; }  // NOLINT: implicit by design
};

// A dimension known only when the program runs.
struct DynamicExtent {
  std::size_t value = 0;
  constexpr operator std::size_t() const { return value; }  // NOLINT: implicit by design
};

template <class T>
concept Extent = std::convertible_to<T, std::size_t> && requires(const T& t) { t.value; };

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_EXTENTS_HPP_
