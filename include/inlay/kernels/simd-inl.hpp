// The vector operations that the kernels need and that Highway 1.0 lacks, under names of our own (newer Highway versions
// have some of them; an own name never becomes ambiguous by argument-dependent lookup). Apart because every kernel file
// uses it and because it is the only place with intrinsics.
//
// Integer kernels see a vector as `Words`: 32-bit lanes, one per matrix row, each holding four bytes (columns k .. k+3 of
// that row) or two 16-bit values. All shifts and masks are done on whole words, so the same source works with one lane
// (HWY_SCALAR: a plain integer), 4, 8 or 16.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "inlay/core/macros.hpp"
#include "inlay/formats/float16.hpp"
#include "inlay/kernels/highway.hpp"

#if defined(INLAY_KERNELS_SIMD_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_SIMD_INL_HPP_
#undef INLAY_KERNELS_SIMD_INL_HPP_
#else
#define INLAY_KERNELS_SIMD_INL_HPP_
#endif

// What the target multiplies bytes with. Exactly one of these is 1:
//   DOT4_UNSIGNED  u8 x i8 -> i32 (x86 VNNI)        DOT4_SIGNED  i8 x i8 -> i32 (ARM dot product; emulated elsewhere)
//   MADDUBS        u8 x i8 -> saturating i16 pairs (SSSE3, AVX2, AVX-512 without VNNI)
#undef INLAY_DOT4_UNSIGNED
#undef INLAY_DOT4_SIGNED
#undef INLAY_MADDUBS
#if HWY_ARCH_X86 && (INLAY_AVX512_VNNI || (HWY_TARGET == HWY_AVX2 && defined(__AVXVNNI__)))
#define INLAY_DOT4_UNSIGNED 1
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3
#define INLAY_MADDUBS 1
#else
#define INLAY_DOT4_SIGNED 1
#endif
#ifndef INLAY_DOT4_UNSIGNED
#define INLAY_DOT4_UNSIGNED 0
#endif
#ifndef INLAY_DOT4_SIGNED
#define INLAY_DOT4_SIGNED 0
#endif
#ifndef INLAY_MADDUBS
#define INLAY_MADDUBS 0
#endif

// Whether the target multiplies pairs of 16-bit numbers and adds both products to 32-bit sums in one instruction: int16
// (VNNI), and BF16, of which Highway's dispatch knows nothing.
#undef INLAY_INT16_PAIRS
#undef INLAY_BF16_PAIRS
#define INLAY_INT16_PAIRS INLAY_DOT4_UNSIGNED
#if defined(__AVX512BF16__) && INLAY_DOT4_UNSIGNED && HWY_TARGET <= HWY_AVX3 && HWY_TARGET == HWY_STATIC_TARGET
#include <immintrin.h>
#define INLAY_BF16_PAIRS 1
#else
#define INLAY_BF16_PAIRS 0
#endif

// See kWeightsAhead. Of the processors measured, Zen 4 is the one with AVX-512 VNNI and without AVX-VNNI; what flags say is
// asked before Highway changes them for its target. With AVX2, it and those before it are known where the compiler was told.
#undef INLAY_WEIGHTS_AHEAD
#if defined(__AMX_TILE__) || defined(__AMXTILE__)
#define INLAY_WEIGHTS_AHEAD 3072
#elif HWY_ARCH_X86 && HWY_TARGET < HWY_AVX2 && !(defined(__AVX512VNNI__) && !defined(__AVXVNNI__))
#define INLAY_WEIGHTS_AHEAD 4096
#elif HWY_TARGET == HWY_AVX2 && !(defined(__znver1__) || defined(__znver2__) || defined(__znver3__) || defined(__znver4__))
#define INLAY_WEIGHTS_AHEAD 4096
#else
#define INLAY_WEIGHTS_AHEAD 0
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One lane per matrix row; a row tile has 16. Vectors of unknown length cannot be array elements: such targets use their
// fixed-size subset.
using WordTag = hn::CappedTag<std::int32_t, 16>;
using FloatTag = hn::CappedTag<float, 16>;
using Words = hn::Vec<WordTag>;
using Floats = hn::Vec<FloatTag>;
inline constexpr std::size_t kWordLanes = hn::MaxLanes(WordTag());
static_assert(16 % kWordLanes == 0);

// Does nothing, but the compiler must have the value in a register here. Sums of integer products are pinned after every
// step: GCC otherwise first forms all products and then adds them, which spills most of them (Q4_K, 4 tokens, AVX2: 27
// instead of 41 multiply-adds per cycle; Clang gains a few percent).
HWY_INLINE void Pin([[maybe_unused]] Words& v) {
#if HWY_TARGET != HWY_SCALAR && HWY_ARCH_X86
  asm("" : "+v"(v.raw));
#elif HWY_TARGET != HWY_SCALAR && HWY_ARCH_ARM_A64
  asm("" : "+w"(v.raw));
#endif
}

#if INLAY_BF16_PAIRS
// Two columns of 16 rows of BF16 behind each other, or one.
template <bool kLast>
HWY_INLINE Words LoadColumnPair(const std::uint16_t* at) {
  return Words{_mm512_maskz_loadu_epi32(kLast ? 0x00FF : 0xFFFF, at)};
}

// The same with the two columns of each row side by side.
HWY_INLINE Words InterleaveColumnPair(Words columns) {
  alignas(64) static constexpr std::uint16_t kOrder[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                           21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                           11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return Words{_mm512_permutexvar_epi16(_mm512_load_si512(kOrder), columns.raw)};
}

// The bits as float32 of the first or the second column.
template <bool kSecond>
HWY_INLINE Words WidenBF16(Words columns) {
  alignas(64) static constexpr std::uint16_t kOrder[32] = {0, 0, 0, 1, 0, 2,  0, 3,  0, 4,  0, 5,  0, 6,  0, 7,
                                                           0, 8, 0, 9, 0, 10, 0, 11, 0, 12, 0, 13, 0, 14, 0, 15};
  const __m512i order = _mm512_add_epi16(_mm512_load_si512(kOrder), _mm512_set1_epi16(kSecond ? 16 : 0));
  return Words{_mm512_maskz_permutexvar_epi16(0xAAAAAAAA, order, columns.raw)};
}
#endif

// How far ahead of their use weights are asked for where a few tokens are multiplied, in bytes; 0: the processor does as well
// alone. One token, weights in memory, GB/s of one thread and of two, without and with:
//   Zen 5, AVX-512, 4 KiB ahead: Q4_K 15 and 30, 26 and 50; Q4_0 17 and 30, 30 and 51; Q8_0 23 and 40, 32 and 55. 8 KiB ahead:
//   as much, 2 KiB: less. Other programs on the host halved all of these now and then.
//   Zen 5, AVX2, 4 KiB ahead: Q4_K 13 and 25, 28 and 52; Q4_0 13 and 26, 24 and 45; Q8_0 19 and 37, 31 and 59.
//   Granite Rapids, pages of 4 KiB, one thread, 2 KiB ahead: Q4_K 10.4, 13.6; less with 4 KiB and more.
//   Emerald Rapids, one thread, 3 KiB ahead, against 2: Q4_K 1.19 times, Q4_0 1.14, Q8_0 1.03; 4 KiB 1.29, 1.21 and 1.05, of
//   which whole models keep nothing, as they do 1.04 to 1.08 of 3.
//   Zen 4, AVX-512, one thread: Q4_K in pages of 4 KiB 22, 22; in huge ones 31, 24 to 27 with 1 to 16 KiB. Zen 3, AVX2, one
//   thread, another kernel: no difference.
// What it is worth depends on the layout. With each block's header before its levels, every load of the loop over blocks of 32
// steps by the same 288 bytes (Q4_0) all along; Zen 5's prefetcher follows such steps, gets 23 and 37 alone, and keeps to that
// whatever else is asked for.
inline constexpr std::size_t kWeightsAhead = INLAY_WEIGHTS_AHEAD;

// Asks for kBytes bytes that begin kAhead bytes after `from`, or does nothing where kAhead is 0.
template <std::size_t kAhead, std::size_t kBytes>
HWY_INLINE void FetchAhead([[maybe_unused]] const void* from) {
  if constexpr (kAhead != 0) {
    HWY_UNROLL(16)
    for (std::size_t i = 0; i < kBytes; i += 64) __builtin_prefetch(static_cast<const char*>(from) + kAhead + i);
  }
}

// All lanes = the four bytes at p.
HWY_INLINE Words BroadcastWord(const void* p) {
  std::int32_t word;
  std::memcpy(&word, p, sizeof(word));
  return hn::Set(WordTag(), word);
}

// kWordLanes words from any address.
HWY_INLINE Words LoadWords(const std::uint8_t* HWY_RESTRICT p) {
#if HWY_TARGET == HWY_SCALAR
  return BroadcastWord(p);
#else
  const WordTag d;
  return hn::BitCast(d, hn::LoadU(hn::Repartition<std::uint8_t, WordTag>(), p));
#endif
}

// The same, for words that several fields are taken from. GCC otherwise loads them once for each field, which the loads of one
// token cannot afford (from the second-level cache of a Zen 5, AVX-512: Q4_K 80 instead of 98 GB/s, Q6_K 65 instead of 96).
HWY_INLINE Words LoadFields(const std::uint8_t* HWY_RESTRICT p) {
  Words words = LoadWords(p);
  Pin(words);
  return words;
}

// The same as LoadWords from a multiple of the vector's size.
HWY_INLINE Words LoadAlignedWords(const std::uint8_t* HWY_RESTRICT p) {
#if HWY_TARGET == HWY_SCALAR
  return BroadcastWord(p);
#else
  return hn::BitCast(WordTag(), hn::Load(hn::Repartition<std::uint8_t, WordTag>(), p));
#endif
}

HWY_INLINE void StoreWords(Words v, std::uint8_t* HWY_RESTRICT p) {
#if HWY_TARGET == HWY_SCALAR
  const std::int32_t word = hn::GetLane(v);
  std::memcpy(p, &word, sizeof(word));
#else
  const hn::Repartition<std::uint8_t, WordTag> d8;
  hn::StoreU(hn::BitCast(d8, v), d8, p);
#endif
}

// One byte per lane, zero-extended or sign-extended.
HWY_INLINE Words LoadBytesUnsigned(const std::uint8_t* HWY_RESTRICT p) {
  return hn::PromoteTo(WordTag(), hn::LoadU(hn::Rebind<std::uint8_t, WordTag>(), p));
}
HWY_INLINE Words LoadBytesSigned(const std::uint8_t* HWY_RESTRICT p) {
  return hn::PromoteTo(WordTag(), hn::LoadU(hn::Rebind<std::int8_t, WordTag>(), reinterpret_cast<const std::int8_t*>(p)));
}

// One 16-bit integer per lane, zero-extended.
HWY_INLINE Words LoadShorts(const std::uint8_t* HWY_RESTRICT p) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(WordTag(), p[0] | (p[1] << 8));
#else
  const hn::Rebind<std::uint16_t, WordTag> d16;
  const hn::Repartition<std::uint8_t, decltype(d16)> d8;
  return hn::PromoteTo(WordTag(), hn::BitCast(d16, hn::LoadU(d8, p)));
#endif
}

// Two bytes per lane, zero-extended to the lane's two 16-bit halves.
HWY_INLINE Words LoadBytePairs(const std::uint8_t* HWY_RESTRICT p) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(WordTag(), p[0] | (p[1] << 16));
#else
  const hn::Repartition<std::int16_t, WordTag> d16;
  return hn::BitCast(WordTag(), hn::PromoteTo(d16, hn::LoadU(hn::Rebind<std::uint8_t, decltype(d16)>(), p)));
#endif
}

// The same, sign-extended.
HWY_INLINE Words LoadBytePairsSigned(const std::int8_t* HWY_RESTRICT p) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(WordTag(), static_cast<std::int32_t>((static_cast<std::uint32_t>(p[1]) << 16) |
                                                      (static_cast<std::uint32_t>(p[0]) & 0xFFFFu)));
#else
  const hn::Repartition<std::int16_t, WordTag> d16;
  return hn::BitCast(WordTag(), hn::PromoteTo(d16, hn::LoadU(hn::Rebind<std::int8_t, decltype(d16)>(), p)));
#endif
}

// Whether half precision takes several instructions. Highway's own (1.0) then drop infinity and NaN, and truncate.
#undef INLAY_SOFT_HALVES
#if HWY_TARGET != HWY_SCALAR && ((HWY_ARCH_X86 && HWY_TARGET > HWY_AVX2) || HWY_ARCH_WASM)
#define INLAY_SOFT_HALVES 1
#else
#define INLAY_SOFT_HALVES 0
#endif

// One half-precision number per lane of `d`, from any address.
template <class D>
HWY_INLINE hn::Vec<D> LoadHalves(D d, const std::uint16_t* HWY_RESTRICT from) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(d, F16ToF32(*from));
#elif INLAY_SOFT_HALVES
  const hn::RebindToUnsigned<D> wide;
  const hn::Rebind<std::uint16_t, D> half;
  const auto bits = hn::PromoteTo(wide, hn::LoadU(half, from));
  const auto magnitude = hn::ShiftLeft<13>(hn::And(bits, hn::Set(wide, 0x7FFFu)));
  const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(wide, 0x8000u)));
  // The exponents differ by 112: a product moves them, those of subnormal numbers too.
  const auto number = hn::Mul(hn::BitCast(d, magnitude), hn::Set(d, 0x1p112f));
  const auto not_finite = hn::RebindMask(wide, hn::Ge(number, hn::Set(d, 65536.0f)));
  const auto exponent = hn::IfThenElseZero(not_finite, hn::Set(wide, 0x7F800000u));
  return hn::BitCast(d, hn::Or(hn::Or(hn::BitCast(wide, number), exponent), sign));
#else
  const hn::Rebind<hwy::float16_t, D> half;
  return hn::PromoteTo(d, hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(from)));
#endif
}

// The reverse, rounded to nearest even; beyond the range becomes infinity.
template <class D>
HWY_INLINE void StoreHalves([[maybe_unused]] D d, hn::Vec<D> value, std::uint16_t* HWY_RESTRICT to) {
#if HWY_TARGET == HWY_SCALAR
  *to = F32ToF16(hn::GetLane(value));
#elif INLAY_SOFT_HALVES
  const hn::RebindToUnsigned<D> wide;
  const hn::RebindToSigned<D> narrowable;
  const hn::Rebind<std::uint16_t, D> half;
  const auto bits = hn::BitCast(wide, value);
  const auto sign = hn::And(hn::ShiftRight<16>(bits), hn::Set(wide, 0x8000u));
  const auto magnitude = hn::And(bits, hn::Set(wide, 0x7FFFFFFFu));
  const auto number = hn::BitCast(d, magnitude);
  // 112 less in the exponent, and half a unit (of the 13 bits that go) more: a carry grows the exponent.
  const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(wide, 1u));
  const auto normal = hn::ShiftRight<13>(hn::Add(hn::Add(magnitude, hn::Set(wide, 0xC8000FFFu)), odd));
  // Next to 0.5, the last bit of a number is that of a subnormal half: the addition rounds.
  const auto subnormal = hn::Sub(hn::BitCast(wide, hn::Add(number, hn::Set(d, 0.5f))), hn::Set(wide, 0x3F000000u));
  auto result = hn::IfThenElse(hn::RebindMask(wide, hn::Lt(number, hn::Set(d, 0x1p-14f))), subnormal, normal);
  result = hn::IfThenElse(hn::RebindMask(wide, hn::Ge(number, hn::Set(d, 65520.0f))), hn::Set(wide, 0x7C00u), result);
  result = hn::IfThenElse(hn::RebindMask(wide, hn::IsNaN(number)), hn::Set(wide, 0x7E00u), result);
  hn::StoreU(hn::DemoteTo(half, hn::BitCast(narrowable, hn::Or(result, sign))), half, to);
#else
  const hn::Rebind<hwy::float16_t, D> half;
  hn::StoreU(hn::DemoteTo(half, value), half, reinterpret_cast<hwy::float16_t*>(to));
#endif
}

#if HWY_TARGET != HWY_SCALAR
// One BF16 number per lane of `d`, from any address.
template <class D>
HWY_INLINE hn::Vec<D> LoadBF16(D d, const std::uint16_t* HWY_RESTRICT from) {
  const hn::Rebind<std::uint16_t, D> half;
  const hn::RebindToUnsigned<D> wide;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(wide, hn::LoadU(half, from))));
}
#endif

// kWordLanes half-precision numbers.
HWY_INLINE Floats LoadHalves(const std::uint8_t* HWY_RESTRICT p) {
  return LoadHalves(FloatTag(), reinterpret_cast<const std::uint16_t*>(p));
}

// The lower and the upper half of each lane, as signed numbers, less `value`.
HWY_INLINE Words SubtractPairs(Words pairs, std::int16_t value) {
#if HWY_TARGET == HWY_SCALAR
  const std::uint32_t word = static_cast<std::uint32_t>(hn::GetLane(pairs));
  const std::uint32_t subtrahend = static_cast<std::uint16_t>(value);
  return hn::Set(WordTag(), static_cast<std::int32_t>(((word - subtrahend) & 0xFFFFu) |
                                                      ((word & 0xFFFF0000u) - (subtrahend << 16))));
#else
  const hn::Repartition<std::int16_t, WordTag> d16;
  return hn::BitCast(WordTag(), hn::Sub(hn::BitCast(d16, pairs), hn::Set(d16, value)));
#endif
}

// Lane i: a.lo * b.lo + a.hi * b.hi of its signed 16-bit halves. Exact unless all four are -32768.
HWY_INLINE Words MultiplyAddPairs(Words a, Words b) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  return Words{_mm512_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_AVX2
  return Words{_mm256_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3
  return Words{_mm_madd_epi16(a.raw, b.raw)};
#elif HWY_ARCH_WASM && HWY_TARGET != HWY_SCALAR
  return Words{wasm_i32x4_dot_i16x8(a.raw, b.raw)};
#elif HWY_ARCH_ARM_A64 && HWY_TARGET != HWY_SCALAR
  const int16x8_t x = vreinterpretq_s16_s32(a.raw), y = vreinterpretq_s16_s32(b.raw);
  return Words{vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y))};
#else
  const Words low = hn::Mul(hn::ShiftRight<16>(hn::ShiftLeft<16>(a)), hn::ShiftRight<16>(hn::ShiftLeft<16>(b)));
  return hn::Add(low, hn::Mul(hn::ShiftRight<16>(a), hn::ShiftRight<16>(b)));
#endif
}

// sum + MultiplyAddPairs(a, b).
HWY_INLINE Words AccumulatePairs(Words sum, Words a, Words b) {
#if INLAY_DOT4_UNSIGNED && HWY_TARGET == HWY_AVX2
  return Words{_mm256_dpwssd_avx_epi32(sum.raw, a.raw, b.raw)};
#elif INLAY_DOT4_UNSIGNED
  return Words{_mm512_dpwssd_epi32(sum.raw, a.raw, b.raw)};
#else
  return hn::Add(sum, MultiplyAddPairs(a, b));
#endif
}

#if INLAY_MADDUBS
// |v| of each byte, as unsigned; and `activations` negated where the byte of `weights` is negative.
HWY_INLINE Words AbsoluteBytes(Words v) {
  const hn::Repartition<std::int8_t, WordTag> d8;
  return hn::BitCast(WordTag(), hn::Abs(hn::BitCast(d8, v)));
}
HWY_INLINE Words ApplySigns(Words activations, Words weights) {
#if HWY_TARGET == HWY_AVX3
  return Words{_mm512_mask_sub_epi8(activations.raw, _mm512_movepi8_mask(weights.raw), _mm512_setzero_si512(),
                                    activations.raw)};
#elif HWY_TARGET == HWY_AVX2
  return Words{_mm256_sign_epi8(activations.raw, weights.raw)};
#else
  return Words{_mm_sign_epi8(activations.raw, weights.raw)};
#endif
}

// 16-bit lane i: weights (unsigned) * activations (signed) of bytes 2i and 2i+1, added with saturation.
HWY_INLINE Words MultiplyBytesToPairs(Words weights, Words activations) {
#if HWY_TARGET == HWY_AVX3
  return Words{_mm512_maddubs_epi16(weights.raw, activations.raw)};
#elif HWY_TARGET == HWY_AVX2
  return Words{_mm256_maddubs_epi16(weights.raw, activations.raw)};
#else
  return Words{_mm_maddubs_epi16(weights.raw, activations.raw)};
#endif
}

// Bytes of `values`, negated where the byte of `signs` is negative. Where that is zero the result is not specified.
HWY_INLINE Words TakeSigns(Words values, Words signs) {
#if HWY_TARGET == HWY_AVX2
  return Words{_mm256_sign_epi8(values.raw, signs.raw)};
#elif HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3
  return Words{_mm_sign_epi8(values.raw, signs.raw)};
#else
  const hn::Repartition<std::int8_t, WordTag> d8;
  const auto negative = hn::VecFromMask(d8, hn::Lt(hn::BitCast(d8, signs), hn::Zero(d8)));
  return hn::BitCast(WordTag(), hn::Sub(hn::Xor(hn::BitCast(d8, values), negative), negative));
#endif
}

// The 16-bit halves of each lane added apart from each other.
HWY_INLINE Words AddPairs(Words a, Words b) {
  const hn::Repartition<std::int16_t, WordTag> d16;
  return hn::BitCast(WordTag(), hn::Add(hn::BitCast(d16, a), hn::BitCast(d16, b)));
}
#endif  // INLAY_MADDUBS

// sum + the dot product of four bytes of weights and four of activations, per lane.
// Weights 0 .. 127 are right on every target; beyond, DOT4_UNSIGNED takes them as 0 .. 255, the others as -128 .. 127.
// Activations are -127 .. 127.
HWY_INLINE Words AccumulateDot4(Words sum, Words weights, Words activations) {
#if INLAY_DOT4_UNSIGNED && HWY_TARGET == HWY_AVX2
  return Words{_mm256_dpbusd_avx_epi32(sum.raw, weights.raw, activations.raw)};
#elif INLAY_DOT4_UNSIGNED
  return Words{_mm512_dpbusd_epi32(sum.raw, weights.raw, activations.raw)};
#elif INLAY_MADDUBS
  // |w| is at most 128, so two products fit 16 bits.
  const Words pairs = MultiplyBytesToPairs(AbsoluteBytes(weights), ApplySigns(activations, weights));
  return AccumulatePairs(sum, pairs, hn::Set(WordTag(), 0x00010001));
#elif HWY_ARCH_ARM_A64 && HWY_TARGET != HWY_SCALAR && defined(__ARM_FEATURE_DOTPROD)
  return Words{vdotq_s32(sum.raw, vreinterpretq_s8_s32(weights.raw), vreinterpretq_s8_s32(activations.raw))};
#elif HWY_ARCH_ARM_A64 && HWY_TARGET != HWY_SCALAR
  // Two products of at most 128 * 127 fit 16 bits.
  const int8x16_t w = vreinterpretq_s8_s32(weights.raw);
  const int8x16_t a = vreinterpretq_s8_s32(activations.raw);
  const int16x8_t pairs = vpaddq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(a)), vmull_high_s8(w, a));
  return Words{vpadalq_s16(sum.raw, pairs)};
#elif HWY_TARGET == HWY_SCALAR
  const std::uint32_t w = static_cast<std::uint32_t>(hn::GetLane(weights));
  const std::uint32_t a = static_cast<std::uint32_t>(hn::GetLane(activations));
  const auto byte = [](std::uint32_t word, int i) {
    return static_cast<std::int32_t>(static_cast<std::int8_t>(word >> (8 * i)));
  };
  return hn::Set(WordTag(), hn::GetLane(sum) + byte(w, 0) * byte(a, 0) + byte(w, 1) * byte(a, 1) +
                                byte(w, 2) * byte(a, 2) + byte(w, 3) * byte(a, 3));
#else
  // Even and odd columns apart, in 16 bits: two products of at most 128 * 127 fit.
  const hn::Repartition<std::int16_t, WordTag> d16;
  const auto w = hn::BitCast(d16, weights);
  const auto a = hn::BitCast(d16, activations);
  const auto even = hn::Mul(hn::ShiftRight<8>(hn::ShiftLeft<8>(w)), hn::ShiftRight<8>(hn::ShiftLeft<8>(a)));
  const auto odd = hn::Mul(hn::ShiftRight<8>(w), hn::ShiftRight<8>(a));
  const Words pairs = hn::BitCast(WordTag(), hn::Add(even, odd));
  return hn::Add(sum, hn::Add(hn::ShiftRight<16>(hn::ShiftLeft<16>(pairs)), hn::ShiftRight<16>(pairs)));
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_KERNELS_SIMD_INL_HPP_
