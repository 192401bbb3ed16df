// Activations from float32 to the forms that weights multiply with: 8-bit integers for quantised ones, pairs of 16-bit
// numbers. Once per matrix input, so that all matrices and threads share the result.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "inlay/core/checked.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/kernels/activations.hpp"
#include "inlay/kernels/float_lanes-inl.hpp"
#include "inlay/kernels/highway.hpp"
#include "inlay/kernels/simd-inl.hpp"

#if defined(INLAY_KERNELS_QUANTIZE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_QUANTIZE_INL_HPP_
#undef INLAY_KERNELS_QUANTIZE_INL_HPP_
#else
#define INLAY_KERNELS_QUANTIZE_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The largest magnitude of `count` (a multiple of 16) values. Compared as integers: a NaN is larger than any number, so
// it comes through and makes the block's scale, and with it every product, a NaN.
HWY_INLINE float LargestMagnitude(const float* HWY_RESTRICT x, std::size_t count) {
  const FloatTag df;
  const WordTag di;
  const Words magnitude = hn::Set(di, 0x7FFFFFFF);
  Words most = hn::Zero(di);
  for (std::size_t i = 0; i < count; i += kWordLanes) {
    most = hn::Max(most, hn::And(hn::BitCast(di, hn::LoadU(df, x + i)), magnitude));
  }
  return hn::GetLane(hn::BitCast(df, hn::MaxOfLanes(di, most)));
}

// out = x * inverse, rounded to nearest even, saturated to int8; 16 values. Returns their sum.
HWY_INLINE std::int32_t Quantize16(const float* HWY_RESTRICT x, float inverse, std::int8_t* HWY_RESTRICT out) {
  const FloatTag df;
  const WordTag di;
  const hn::Rebind<std::int8_t, WordTag> d8;
  const Floats scale = hn::Set(df, inverse);
  Words sum = hn::Zero(di);
  HWY_UNROLL(16)
  for (std::size_t i = 0; i < 16; i += kWordLanes) {
    const Words level = hn::NearestInt(hn::Mul(hn::LoadU(df, x + i), scale));
    hn::StoreU(hn::DemoteTo(d8, level), d8, out + i);
    sum = hn::Add(sum, level);
  }
  return hn::GetLane(hn::SumOfLanes(di, sum));
}

// Whether a block with this largest magnitude can be scaled; otherwise sets the scale. One without a value above 2^-100 becomes
// zeros (the inverse of its scale could overflow), with the scale 0; one with a NaN or infinity becomes zeros with that as
// scale, so that its products are NaN.
HWY_INLINE bool CanScale(float most, float* HWY_RESTRICT scale) {
  if (HWY_LIKELY(most >= 0x1p-100f && most <= std::numeric_limits<float>::max())) return true;
  *scale = most < 1.0f ? 0.0f : most;
  return false;
}

// One block of kValues (32 or 256) values: int8 = round(value / scale), scale = largest magnitude / 127.
template <std::size_t kValues>
HWY_INLINE void QuantizeBlock(const float* HWY_RESTRICT x, std::int8_t* HWY_RESTRICT out, float* HWY_RESTRICT scale,
                              std::int16_t* HWY_RESTRICT sums) {
  const float most = LargestMagnitude(x, kValues);
  if (HWY_UNLIKELY(!CanScale(most, scale))) {
    std::memset(out, 0, kValues);
    std::memset(sums, 0, (kValues == 256 ? 24 : 1) * sizeof(*sums));
    return;
  }
  const float inverse = 127.0f / most;
  *scale = most / 127.0f;
  for (std::size_t i = 0; i < kValues; i += 32) {
    const std::int32_t first = Quantize16(x + i, inverse, out + i);
    const std::int32_t second = Quantize16(x + i + 16, inverse, out + i + 16);
    if constexpr (kValues == 256) {
      sums[i / 16] = static_cast<std::int16_t>(first);
      sums[i / 16 + 1] = static_cast<std::int16_t>(second);
      sums[16 + i / 32] = static_cast<std::int16_t>(first + second);
    } else {
      *sums = static_cast<std::int16_t>(first + second);
    }
  }
}

#if INLAY_INT16_PAIRS
// One block of up to 64 values: int16 = round(value / scale), with the smallest scale of kInt16Norm's rule.
HWY_INLINE void QuantizeInt16(const float* HWY_RESTRICT x, std::size_t count, std::uint16_t* HWY_RESTRICT out,
                              float* HWY_RESTRICT scale) {
  const FloatTag df;
  const hn::Rebind<std::int16_t, FloatTag> d16;
  alignas(64) float part[kInt16Block] = {};
  if (count < kInt16Block) {
    std::memcpy(part, x, count * sizeof(float));
    x = part;
  }
  const float most = LargestMagnitude(x, kInt16Block);
  if (HWY_UNLIKELY(!CanScale(most, scale))) {
    std::memset(out, 0, kInt16Block * sizeof(*out));
    return;
  }
  Lanes16 squares = Set16(0.0f);
  HWY_UNROLL(4)
  for (std::size_t i = 0; i < kInt16Block; i += 16) {
    const Lanes16 value = Div16(Load16(x + i), Set16(most));
    squares = MulAdd16(value, value, squares);
  }
  const float norm = std::sqrt(Sum16(squares));  // of values up to 1: from 1 to 8
  const float unit = std::max(norm / kInt16Norm, 1.0f / kInt16Most);
  *scale = most * unit;
  const Floats inverse = hn::Set(df, 1.0f / unit / most);
  for (std::size_t i = 0; i < kInt16Block; i += kWordLanes) {
    const Words level = hn::NearestInt(hn::Mul(hn::LoadU(df, x + i), inverse));
    hn::StoreU(hn::DemoteTo(d16, level), d16, reinterpret_cast<std::int16_t*>(out) + i);
  }
}
#endif

#if INLAY_BF16_PAIRS
// Rounds `cols` values to nearest even.
HWY_INLINE void RoundToBF16(const float* HWY_RESTRICT x, std::size_t cols, std::uint16_t* HWY_RESTRICT out) {
  std::size_t col = 0;
  for (; col + 16 <= cols; col += 16) StoreBF16x16(Load16(x + col), out + col);
  for (; col % 64 != 0 || col < cols; col += 16) {
    StoreBF16x16(LoadPart16(x + col, col < cols ? std::min<std::size_t>(cols - col, 15) : 0), out + col);
  }
}
#endif

// Fills the forms in `kinds` of tokens [token_begin, token_end) from x.values; kActivationFloat needs nothing, nor what the
// target does not multiply with. cols is a multiple of the 8-bit forms' block sizes. Every token depends on its own values
// only. Cost of an 8-bit form: about 1 ns per 8 values.
inline HWY_NOINLINE void QuantizeRows(ActivationKinds kinds, std::size_t cols, std::size_t token_begin,
                                      std::size_t token_end, const Activations& x) {
  for (std::size_t t = token_begin; t < token_end; ++t) {
    const float* values = x.values + t * x.stride;
    if ((kinds & kActivationBlock32) != 0) {
      INLAY_ASSERT(cols % 32 == 0);
      const QuantizedRows& rows = x.block32;
      for (std::size_t b = 0; b < cols / 32; ++b) {
        QuantizeBlock<32>(values + 32 * b, rows.values + t * rows.value_stride + 32 * b,
                          rows.scales + t * rows.scale_stride + b, rows.sums + t * rows.sum_stride + b);
      }
    }
    if ((kinds & kActivationBlock256) != 0) {
      INLAY_ASSERT(cols % 256 == 0);
      const QuantizedRows& rows = x.block256;
      for (std::size_t b = 0; b < cols / 256; ++b) {
        QuantizeBlock<256>(values + 256 * b, rows.values + t * rows.value_stride + 256 * b,
                           rows.scales + t * rows.scale_stride + b, rows.sums + t * rows.sum_stride + 24 * b);
      }
    }
#if INLAY_INT16_PAIRS
    if ((kinds & kActivationInt16) != 0) {
      const PairedRows& rows = x.int16;
      for (std::size_t b = 0; b < DivideUp(cols, kInt16Block); ++b) {
        QuantizeInt16(values + kInt16Block * b, std::min(kInt16Block, cols - kInt16Block * b),
                      rows.values + t * rows.value_stride + kInt16Block * b, rows.scales + t * rows.scale_stride + b);
      }
    }
#endif
#if INLAY_BF16_PAIRS
    if ((kinds & kActivationBF16) != 0) RoundToBF16(values, cols, x.bf16.values + t * x.bf16.value_stride);
#endif
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard
