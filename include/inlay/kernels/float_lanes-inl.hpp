// Sixteen float32 lanes as one value on every target: one AVX-512 vector, two of AVX2, four of 128 bits, or plain floats.
//
// Apart because the float kernels (matrix products, attention, norms) are written against it once: a sum that runs over
// lanes has the same order everywhere, so results do not depend on the width of the target's vectors.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "inlay/core/macros.hpp"
#include "inlay/formats/float16.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/highway.hpp"

#if defined(INLAY_KERNELS_FLOAT_LANES_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_FLOAT_LANES_INL_HPP_
#undef INLAY_KERNELS_FLOAT_LANES_INL_HPP_
#else
#define INLAY_KERNELS_FLOAT_LANES_INL_HPP_
#endif

#include "inlay/kernels/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;


#if HWY_TARGET == HWY_SCALAR || HWY_HAVE_SCALABLE
// Scalable vectors cannot be members or array elements: those targets take the plain loops too, which compilers
// vectorise.
struct Lanes16 {
  float lane[16];
};

// One rounding where the processor has a fused multiply-add, so that a compiler that may contract a * b + c has nothing
// left to decide differently in two places.
HWY_INLINE float MultiplyAdd(float a, float b, float c) {
#if defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

#define INLAY_LANES(expression)                                         \
  Lanes16 result;                                                       \
  for (std::size_t i = 0; i < 16; ++i) result.lane[i] = (expression);   \
  return result
HWY_INLINE Lanes16 Set16(float value) { INLAY_LANES(value); }
HWY_INLINE Lanes16 Load16(const float* from) { INLAY_LANES(from[i]); }
HWY_INLINE void Store16(const Lanes16& value, float* to) {
  for (std::size_t i = 0; i < 16; ++i) to[i] = value.lane[i];
}
HWY_INLINE Lanes16 LoadF16x16(const std::uint16_t* from) { INLAY_LANES(F16ToF32(from[i])); }
HWY_INLINE void StoreF16x16(const Lanes16& value, std::uint16_t* to) {
  for (std::size_t i = 0; i < 16; ++i) to[i] = F32ToF16(value.lane[i]);
}
HWY_INLINE void StoreBF16x16(const Lanes16& value, std::uint16_t* to) {
  for (std::size_t i = 0; i < 16; ++i) to[i] = F32ToBF16(value.lane[i]);
}
HWY_INLINE Lanes16 LoadBF16x16(const std::uint16_t* from) { INLAY_LANES(BF16ToF32(from[i])); }
HWY_INLINE Lanes16 LoadI8x16(const std::int8_t* from) { INLAY_LANES(static_cast<float>(from[i])); }
HWY_INLINE Lanes16 LoadI32x16(const std::int32_t* from) { INLAY_LANES(static_cast<float>(from[i])); }
// Lanes 0 .. 7 = a, 8 .. 15 = b.
HWY_INLINE Lanes16 SetHalves16(float a, float b) { INLAY_LANES(i < 8 ? a : b); }
// Lane i and i + 8 = the sum of lanes i and i + 8.
HWY_INLINE Lanes16 AddHalves16(const Lanes16& a) { INLAY_LANES(a.lane[i % 8] + a.lane[i % 8 + 8]); }
HWY_INLINE Lanes16 Add16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(a.lane[i] + b.lane[i]); }
HWY_INLINE Lanes16 Sub16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(a.lane[i] - b.lane[i]); }
HWY_INLINE Lanes16 Mul16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(a.lane[i] * b.lane[i]); }
HWY_INLINE Lanes16 Div16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(a.lane[i] / b.lane[i]); }
HWY_INLINE Lanes16 MulAdd16(const Lanes16& a, const Lanes16& b, const Lanes16& c) {
  INLAY_LANES(MultiplyAdd(a.lane[i], b.lane[i], c.lane[i]));
}
HWY_INLINE Lanes16 Max16(const Lanes16& a, const Lanes16& b) {
  INLAY_LANES(a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]);
}
HWY_INLINE Lanes16 Min16(const Lanes16& a, const Lanes16& b) {
  INLAY_LANES(a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]);
}
// Lanes below `begin` and from `end` on become `other`.
HWY_INLINE Lanes16 KeepRange16(const Lanes16& value, std::size_t begin, std::size_t end, float other) {
  INLAY_LANES(i >= begin && i < end ? value.lane[i] : other);
}
HWY_INLINE Lanes16 IfNegative16(const Lanes16& test, const Lanes16& yes, const Lanes16& no) {
  INLAY_LANES(test.lane[i] < 0.0f ? yes.lane[i] : no.lane[i]);
}
HWY_INLINE Lanes16 Abs16(const Lanes16& a) { INLAY_LANES(a.lane[i] < 0.0f ? -a.lane[i] : a.lane[i]); }
// 2^n for an integer-valued lane held as 12582912 + n, that is in the low bits of the mantissa.
HWY_INLINE Lanes16 PowerOfTwo16(const Lanes16& shifted) {
  INLAY_LANES(std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted.lane[i]) << 23) + 0x3F800000u));
}
// (x0, x1), (x2, x3), ... as complex numbers times those of `turn`.
HWY_INLINE Lanes16 ComplexMul16(const Lanes16& x, const Lanes16& turn) {
  Lanes16 result;
  for (std::size_t i = 0; i < 16; i += 2) {
    const float cosine = turn.lane[i], sine = turn.lane[i + 1];
    result.lane[i] = MultiplyAdd(x.lane[i], cosine, -(x.lane[i + 1] * sine));
    result.lane[i + 1] = MultiplyAdd(x.lane[i + 1], cosine, x.lane[i] * sine);
  }
  return result;
}
#undef INLAY_LANES

// Reductions fold the upper half of the lanes onto the lower one until one is left.
HWY_INLINE float Sum16(Lanes16 value) {
  for (std::size_t half = 8; half != 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) value.lane[i] += value.lane[i + half];
  }
  return value.lane[0];
}
HWY_INLINE float Largest16(Lanes16 value) {
  for (std::size_t half = 8; half != 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) {
      value.lane[i] = value.lane[i] > value.lane[i + half] ? value.lane[i] : value.lane[i + half];
    }
  }
  return value.lane[0];
}

#else  // fixed-size vectors

using FloatVector = hn::Vec<FloatTag>;
inline constexpr std::size_t kVectorLanes = sizeof(FloatVector) / sizeof(float);
inline constexpr std::size_t kVectorsPer16 = 16 / kVectorLanes;

struct Lanes16 {
  // Written out because GCC for ARM compiles an implicit constructor without the target's attributes.
  HWY_INLINE Lanes16() {}  // NOLINT: left uninitialised

  FloatVector vector[kVectorsPer16];
};

#define INLAY_LANES(expression)                                                    \
  const FloatTag d;                                                                \
  (void)d;                                                                         \
  Lanes16 result;                                                                  \
  HWY_UNROLL(16)                                                                   \
  for (std::size_t i = 0; i < kVectorsPer16; ++i) result.vector[i] = (expression); \
  return result
HWY_INLINE Lanes16 Set16(float value) { INLAY_LANES(hn::Set(d, value)); }
HWY_INLINE Lanes16 Load16(const float* from) { INLAY_LANES(hn::LoadU(d, from + i * kVectorLanes)); }
HWY_INLINE void Store16(const Lanes16& value, float* to) {
  HWY_UNROLL(16)
  for (std::size_t i = 0; i < kVectorsPer16; ++i) hn::StoreU(value.vector[i], FloatTag(), to + i * kVectorLanes);
}
HWY_INLINE Lanes16 LoadF16x16(const std::uint16_t* from) { INLAY_LANES(LoadHalves(d, from + i * kVectorLanes)); }
HWY_INLINE Lanes16 LoadBF16x16(const std::uint16_t* from) { INLAY_LANES(LoadBF16(d, from + i * kVectorLanes)); }
// Rounds to nearest even; beyond the range becomes infinity.
HWY_INLINE void StoreF16x16(const Lanes16& value, std::uint16_t* to) {
  HWY_UNROLL(16)
  for (std::size_t i = 0; i < kVectorsPer16; ++i) StoreHalves(FloatTag(), value.vector[i], to + i * kVectorLanes);
}
// Rounds to nearest even (Highway 1.0 would truncate); NaN stays NaN.
HWY_INLINE void StoreBF16x16(const Lanes16& value, std::uint16_t* to) {
  const hn::RebindToUnsigned<FloatTag> wide;
  const hn::Rebind<std::uint16_t, FloatTag> half;
  HWY_UNROLL(16)
  for (std::size_t i = 0; i < kVectorsPer16; ++i) {
    const auto bits = hn::BitCast(wide, value.vector[i]);
    const auto upper = hn::ShiftRight<16>(bits);
    const auto odd = hn::And(upper, hn::Set(wide, 1u));
    const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(wide, 0x7FFFu))));
    const auto quiet = hn::Or(upper, hn::Set(wide, 0x40u));
    const auto nan = hn::RebindMask(wide, hn::IsNaN(value.vector[i]));
    const hn::RebindToSigned<decltype(wide)> narrowable;
    hn::StoreU(hn::DemoteTo(half, hn::BitCast(narrowable, hn::IfThenElse(nan, quiet, rounded))), half,
               to + i * kVectorLanes);
  }
}
HWY_INLINE Lanes16 LoadI8x16(const std::int8_t* from) {
  const hn::Rebind<std::int8_t, FloatTag> bytes;
  const hn::RebindToSigned<FloatTag> wide;
  INLAY_LANES(hn::ConvertTo(d, hn::PromoteTo(wide, hn::LoadU(bytes, from + i * kVectorLanes))));
}
HWY_INLINE Lanes16 LoadI32x16(const std::int32_t* from) {
  const hn::RebindToSigned<FloatTag> wide;
  INLAY_LANES(hn::ConvertTo(d, hn::LoadU(wide, from + i * kVectorLanes)));
}
HWY_INLINE Lanes16 Add16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(hn::Add(a.vector[i], b.vector[i])); }
HWY_INLINE Lanes16 Sub16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(hn::Sub(a.vector[i], b.vector[i])); }
HWY_INLINE Lanes16 Mul16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(hn::Mul(a.vector[i], b.vector[i])); }
HWY_INLINE Lanes16 Div16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(hn::Div(a.vector[i], b.vector[i])); }
HWY_INLINE Lanes16 MulAdd16(const Lanes16& a, const Lanes16& b, const Lanes16& c) {
  INLAY_LANES(hn::MulAdd(a.vector[i], b.vector[i], c.vector[i]));
}
// Lanes 0 .. 7 = a, 8 .. 15 = b.
HWY_INLINE Lanes16 SetHalves16(float a, float b) {
  if constexpr (kVectorsPer16 == 1) {
    INLAY_LANES(hn::IfThenElse(hn::FirstN(d, 8), hn::Set(d, a), hn::Set(d, b)));
  } else {
    INLAY_LANES(hn::Set(d, i < kVectorsPer16 / 2 ? a : b));
  }
}
// Lane i and i + 8 = the sum of lanes i and i + 8.
HWY_INLINE Lanes16 AddHalves16(const Lanes16& a) {
  if constexpr (kVectorsPer16 == 1) {
    INLAY_LANES(hn::Add(a.vector[i], hn::ConcatLowerUpper(d, a.vector[i], a.vector[i])));
  } else {
    constexpr std::size_t kHalf = kVectorsPer16 / 2;
    INLAY_LANES(hn::Add(a.vector[i % kHalf], a.vector[i % kHalf + kHalf]));
  }
}
// Where b is NaN the result is NaN; where only a is, it is b. NEON's instruction, as Highway uses it, would drop NaNs.
HWY_INLINE Lanes16 Max16(const Lanes16& a, const Lanes16& b) {
#if HWY_ARCH_X86
  INLAY_LANES(hn::Max(a.vector[i], b.vector[i]));
#else
  INLAY_LANES(hn::IfThenElse(hn::Gt(a.vector[i], b.vector[i]), a.vector[i], b.vector[i]));
#endif
}
HWY_INLINE Lanes16 Min16(const Lanes16& a, const Lanes16& b) {
#if HWY_ARCH_X86
  INLAY_LANES(hn::Min(a.vector[i], b.vector[i]));
#else
  INLAY_LANES(hn::IfThenElse(hn::Lt(a.vector[i], b.vector[i]), a.vector[i], b.vector[i]));
#endif
}
// Lanes below `begin` and from `end` on become `other`.
HWY_INLINE Lanes16 KeepRange16(const Lanes16& value, std::size_t begin, std::size_t end, float other) {
  const FloatVector first = hn::Set(FloatTag(), static_cast<float>(begin));
  const FloatVector last = hn::Set(FloatTag(), static_cast<float>(end));
  INLAY_LANES(hn::IfThenElse(
      hn::And(hn::Ge(hn::Iota(d, static_cast<float>(i * kVectorLanes)), first),
              hn::Lt(hn::Iota(d, static_cast<float>(i * kVectorLanes)), last)),
      value.vector[i], hn::Set(d, other)));
}
HWY_INLINE Lanes16 IfNegative16(const Lanes16& test, const Lanes16& yes, const Lanes16& no) {
  INLAY_LANES(hn::IfThenElse(hn::Lt(test.vector[i], hn::Zero(d)), yes.vector[i], no.vector[i]));
}
HWY_INLINE Lanes16 Abs16(const Lanes16& a) { INLAY_LANES(hn::Abs(a.vector[i])); }
// 2^n for an integer-valued lane held as 12582912 + n, that is in the low bits of the mantissa.
HWY_INLINE Lanes16 PowerOfTwo16(const Lanes16& shifted) {
  const hn::RebindToSigned<FloatTag> wide;
  INLAY_LANES(hn::BitCast(
      d, hn::Add(hn::ShiftLeft<23>(hn::BitCast(wide, shifted.vector[i])), hn::BitCast(wide, hn::Set(d, 1.0f)))));
}
// (x0, x1), (x2, x3), ... as complex numbers times those of `turn`.
HWY_INLINE Lanes16 ComplexMul16(const Lanes16& x, const Lanes16& turn) {
  const FloatVector flip = hn::OddEven(hn::Zero(FloatTag()), hn::Set(FloatTag(), -0.0f));
  INLAY_LANES(hn::MulAdd(x.vector[i], hn::DupEven(turn.vector[i]),
                         hn::Mul(hn::Shuffle2301(x.vector[i]), hn::Xor(hn::DupOdd(turn.vector[i]), flip))));
}
#undef INLAY_LANES

// Reductions fold the upper half of the lanes onto the lower one until one is left.
template <class Combine>
HWY_INLINE float Fold16(const Lanes16& value, Combine combine) {
  [[maybe_unused]] const hn::Full128<float> quad;
#if HWY_MAX_BYTES == 64
  const hn::Half<FloatTag> half;
  const auto eight = combine(hn::LowerHalf(half, value.vector[0]), hn::UpperHalf(half, value.vector[0]));
  auto four = combine(hn::LowerHalf(quad, eight), hn::UpperHalf(quad, eight));
#elif HWY_MAX_BYTES == 32
  const auto eight = combine(value.vector[0], value.vector[1]);
  auto four = combine(hn::LowerHalf(quad, eight), hn::UpperHalf(quad, eight));
#else
  auto four = combine(combine(value.vector[0], value.vector[2]), combine(value.vector[1], value.vector[3]));
#endif
  four = combine(four, hn::Shuffle1032(four));
  return hn::GetLane(combine(four, hn::Shuffle2301(four)));
}
HWY_INLINE float Sum16(const Lanes16& value) {
  return Fold16(value, [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); });
}
HWY_INLINE float Largest16(const Lanes16& value) {
  return Fold16(value, [](auto a, auto b) HWY_ATTR { return hn::Max(a, b); });
}
#endif

// The first `count` (0 .. 15) of 16 lanes in memory; the rest is zero and not read.
HWY_INLINE Lanes16 LoadPart16(const float* from, std::size_t count) {
  alignas(64) float lanes[16] = {};
  std::memcpy(lanes, from, count * sizeof(float));
  return Load16(lanes);
}
HWY_INLINE void StorePart16(const Lanes16& value, float* to, std::size_t count) {
  alignas(64) float lanes[16];
  Store16(value, lanes);
  std::memcpy(to, lanes, count * sizeof(float));
}

// Adds `value` to, or stores it as, the results of 16 rows, or of `rows` if there are fewer.
HWY_INLINE void StoreRows16(Lanes16 value, float* to, std::size_t rows, bool accumulate) {
  if (HWY_LIKELY(rows >= 16)) {
    if (accumulate) value = Add16(Load16(to), value);
    Store16(value, to);
  } else {
    if (accumulate) value = Add16(LoadPart16(to, rows), value);
    StorePart16(value, to, rows);
  }
}

// Sixteen weights or cache elements of a float type, `index` elements after `from`.
template <WeightType kType>
HWY_INLINE Lanes16 LoadFloats16(const std::byte* from, std::size_t index) {
  if constexpr (kType == WeightType::kF32) {
    return Load16(reinterpret_cast<const float*>(from) + index);
  } else if constexpr (kType == WeightType::kF16) {
    return LoadF16x16(reinterpret_cast<const std::uint16_t*>(from) + index);
  } else {
    static_assert(kType == WeightType::kBF16);
    return LoadBF16x16(reinterpret_cast<const std::uint16_t*>(from) + index);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard
