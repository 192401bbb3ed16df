// Half precision (IEEE binary16) and bfloat16 in portable integer arithmetic: the definition that scalar code, constant
// expressions and tests share. Kernels convert with SIMD instructions, which agree with these for every finite value.
#ifndef INLAY_FORMATS_FLOAT16_HPP_
#define INLAY_FORMATS_FLOAT16_HPP_

#include <bit>
#include <cstdint>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

inline constexpr float kMaxF16 = 65504.0f;  // the largest finite binary16

// Exact for every bit pattern; NaN keeps its sign and payload.
constexpr float F16ToF32(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t{half & 0x8000u} << 16;
  const std::uint32_t magnitude = std::uint32_t{half & 0x7FFFu} << 13;
  const std::uint32_t exponent = magnitude & (0x1Fu << 23);
  constexpr std::uint32_t kBiasChange = (127u - 15u) << 23;
  if (exponent == (0x1Fu << 23)) return std::bit_cast<float>(sign | (magnitude + 2 * kBiasChange));
  if (exponent != 0) return std::bit_cast<float>(sign | (magnitude + kBiasChange));
  // Subnormal: with the exponent of 2^-14 put in front, subtracting 2^-14 lets the hardware normalise. The difference
  // is exact and a normal float, so flush-to-zero modes do not touch it.
  const float value = std::bit_cast<float>(magnitude + kBiasChange + (1u << 23)) - 0x1p-14f;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
}

// Rounds to nearest, ties to even; beyond kMaxF16 becomes infinity, NaN stays NaN (quiet, top payload bits kept).
constexpr std::uint16_t F32ToF16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  std::uint32_t half = 0;
  if (magnitude > 0x7F800000u) {
    half = 0x7E00u | ((magnitude >> 13) & 0x1FFu);
  } else if (magnitude >= 0x47800000u) {  // 65536 and infinity
    half = 0x7C00u;
  } else if (magnitude < 0x38800000u) {
    // Below 2^-14 the result is subnormal with unit 2^-24, which is the unit of floats in [0.5, 1): adding 0.5 rounds.
    half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<std::uint32_t>(0.5f);
  } else {
    // Rebias, then round by adding just less than half a unit, or half a unit when the last kept bit is odd. A carry
    // out of the mantissa moves to the next exponent, and from 65520 on to infinity, as it must.
    half = (magnitude - ((127u - 15u) << 23) + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | half);
}

// As F32ToF16, but values beyond kMaxF16 become +-kMaxF16: a scale must stay finite.
constexpr std::uint16_t F32ToF16Saturated(float value) {
  if (value > kMaxF16) value = kMaxF16;
  if (value < -kMaxF16) value = -kMaxF16;
  return F32ToF16(value);
}

// Exact: bfloat16 is the upper half of a float.
constexpr float BF16ToF32(std::uint16_t half) { return std::bit_cast<float>(std::uint32_t{half} << 16); }

// Rounds to nearest, ties to even; NaN stays NaN (quiet), even where its payload is only in the dropped bits.
constexpr std::uint16_t F32ToBF16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_FLOAT16_HPP_
