// A test for finite numbers that holds under -ffast-math, where std::isfinite may be folded to true.
#ifndef INLAY_CORE_FINITE_HPP_
#define INLAY_CORE_FINITE_HPP_

#include <bit>
#include <cstdint>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// False for NaN and infinities.
constexpr bool IsFinite(float value) { return (std::bit_cast<std::uint32_t>(value) & 0x7F800000u) != 0x7F800000u; }

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_FINITE_HPP_
