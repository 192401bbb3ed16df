// What the quantised kernels know of the formats: how packed levels become bytes and packed scales become vectors.
//
// Apart because the kernels for few tokens (quantized_matmul-inl.hpp) and those for many (quantized_panel-inl.hpp) share
// it. A new format is a case here and in packed_layout.hpp.

#include <cstddef>
#include <cstdint>

#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/activations.hpp"
#include "inlay/kernels/highway.hpp"
#include "inlay/kernels/packed_layout.hpp"
#include "inlay/kernels/simd-inl.hpp"

#if defined(INLAY_KERNELS_QUANTIZED_FORMATS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_QUANTIZED_FORMATS_INL_HPP_
#undef INLAY_KERNELS_QUANTIZED_FORMATS_INL_HPP_
#else
#define INLAY_KERNELS_QUANTIZED_FORMATS_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Levels are unsigned bytes on targets that multiply those: 8-bit weights get 128 added there.
template <WeightType kType>
inline constexpr int kByteOffset = LevelBits(kType) == 8 && INLAY_DOT4_UNSIGNED ? 128 : LevelOffset(kType);

// The levels of 32 columns as 8 words (word i: columns 4i .. 4i+3). `packed` points at the lanes wanted. Shifts cross
// bytes; the masks remove what came over.
template <int kBits>
HWY_INLINE void UnpackLevels(const std::uint8_t* HWY_RESTRICT packed, Words* HWY_RESTRICT words) {
  const WordTag d;
  if constexpr (kBits == 8) {
    HWY_UNROLL(8)
    for (std::size_t i = 0; i < 8; ++i) {
      words[i] = LoadWords(packed + i * kWordBytes);
#if INLAY_DOT4_UNSIGNED
      words[i] = hn::Xor(words[i], hn::Set(d, static_cast<std::int32_t>(0x80808080u)));
#endif
    }
    return;
  }
  const Words low = hn::Set(d, 0x0F0F0F0F);
  HWY_UNROLL(4)
  for (std::size_t i = 0; i < 4; ++i) {
    const Words nibbles = LoadWords(packed + i * kWordBytes);
    words[i] = hn::And(nibbles, low);
    words[i + 4] = hn::And(hn::ShiftRight<4>(nibbles), low);
  }
  if constexpr (kBits == 5) {
    const Words bits = LoadWords(packed + 4 * kWordBytes);
    const Words fifth = hn::Set(d, 0x10101010);
    words[0] = hn::Or(words[0], hn::And(hn::ShiftLeft<4>(bits), fifth));
    words[1] = hn::Or(words[1], hn::And(hn::ShiftLeft<3>(bits), fifth));
    words[2] = hn::Or(words[2], hn::And(hn::ShiftLeft<2>(bits), fifth));
    words[3] = hn::Or(words[3], hn::And(hn::ShiftLeft<1>(bits), fifth));
    words[4] = hn::Or(words[4], hn::And(bits, fifth));
    words[5] = hn::Or(words[5], hn::And(hn::ShiftRight<1>(bits), fifth));
    words[6] = hn::Or(words[6], hn::And(hn::ShiftRight<2>(bits), fifth));
    words[7] = hn::Or(words[7], hn::And(hn::ShiftRight<3>(bits), fifth));
  }
  if constexpr (kBits == 6) {
    const Words upper = hn::Set(d, 0x30303030);
    HWY_UNROLL(2)
    for (std::size_t i = 0; i < 2; ++i) {
      const Words bits = LoadWords(packed + (4 + i) * kWordBytes);
      words[4 * i] = hn::Or(words[4 * i], hn::And(hn::ShiftLeft<4>(bits), upper));
      words[4 * i + 1] = hn::Or(words[4 * i + 1], hn::And(hn::ShiftLeft<2>(bits), upper));
      words[4 * i + 2] = hn::Or(words[4 * i + 2], hn::And(bits, upper));
      words[4 * i + 3] = hn::Or(words[4 * i + 3], hn::And(hn::ShiftRight<2>(bits), upper));
    }
  }
}

// Asks for levels that are needed soon. The hardware's prefetching alone leaves a third of the memory bandwidth unused
// when one token is multiplied (Q4_K, one Granite Rapids core: 10.4 without, 13.6 GB/s with; 4 KiB or more ahead: less).
template <WeightType kType>
HWY_INLINE void PrefetchLevels(const std::uint8_t* levels) {
  constexpr std::size_t kDistance = 2048;
  for (std::size_t i = 0; i < PackedLevelBytes(kType); i += kWordBytes) __builtin_prefetch(levels + kDistance + i);
}

// A sub-scale per lane in the form that AccumulateScaled wants: where bytes multiply to 16-bit pairs, in both halves.
HWY_INLINE Words PrepareScale(Words scale) {
#if INLAY_MADDUBS
  return hn::Or(hn::And(scale, hn::Set(WordTag(), 0xFFFF)), hn::ShiftLeft<16>(scale));
#else
  return scale;
#endif
}

// Columns that share a sub-scale in a block of 256, and how many such groups it has. Formats with blocks of 32 have none.
template <WeightType kType>
inline constexpr std::size_t kGroupColumns = kType == WeightType::kQ6_K ? 16 : 32;
// Formats whose value is scale * level - min, or scale * level + m.
template <WeightType kType>
inline constexpr bool kHasMin = kType == WeightType::kQ4_1 || kType == WeightType::kQ5_1 || kType == WeightType::kQ4_K ||
                                kType == WeightType::kQ5_K;

// The float scales of the kWordLanes rows from `lane` on, of any block; and m or dmin where the format has one.
HWY_INLINE Floats LoadBlockScale(const std::uint8_t* HWY_RESTRICT block, std::size_t lane) {
  return LoadHalves(block + 2 * lane);
}
HWY_INLINE Floats LoadBlockMin(const std::uint8_t* HWY_RESTRICT block, std::size_t lane) {
  return LoadHalves(block + 2 * kRowTile + 2 * lane);
}

// Integers of a block of 256 columns, for kWordLanes rows from `lane` on:
//   scales[g]       prepared sub-scale of group g
//   corrections[j]  pairs of 16-bit values: sum over j of MultiplyAddPairs(corrections[j], activation sums 2j and 2j + 1)
//                   is the integer part of the mins (Q4_K, Q5_K: 4 pairs over sums of 32 columns), or what kByteOffset times
//                   is too much in the product (Q6_K: 8 pairs over sums of 16 columns).
template <WeightType kType>
HWY_INLINE void LoadGroupScales(const std::uint8_t* HWY_RESTRICT block, std::size_t lane, Words* HWY_RESTRICT scales,
                                Words* HWY_RESTRICT corrections) {
  const WordTag d;
  if constexpr (kType == WeightType::kQ6_K) {
    const std::uint8_t* bytes = block + 2 * kRowTile + lane;
    const Words low = hn::Set(d, 0xFFFF);
    HWY_UNROLL(8)
    for (std::size_t i = 0; i < 8; ++i) {
      const Words even = LoadBytesSigned(bytes + 2 * i * kRowTile);
      const Words odd = LoadBytesSigned(bytes + (2 * i + 1) * kRowTile);
      scales[2 * i] = PrepareScale(even);
      scales[2 * i + 1] = PrepareScale(odd);
      corrections[i] = hn::Or(hn::And(even, low), hn::ShiftLeft<16>(odd));
    }
  } else {
    // See GroupScales in codec.hpp for the bits. Four scales or mins in the bytes of a word.
    const std::uint8_t* words = block + 4 * kRowTile + 4 * lane;
    const Words first = LoadWords(words);
    const Words second = LoadWords(words + kWordBytes);
    const Words third = LoadWords(words + 2 * kWordBytes);
    const Words six = hn::Set(d, 0x3F3F3F3F);
    const Words four = hn::Set(d, 0x0F0F0F0F);
    const Words upper = hn::Set(d, 0x30303030);
    const Words even = hn::Set(d, 0x00FF00FF);
    const Words byte = hn::Set(d, 0xFF);
    const Words scale_words[2] = {hn::And(first, six),
                                  hn::Or(hn::And(third, four), hn::And(hn::ShiftRight<2>(first), upper))};
    const Words min_words[2] = {
        hn::And(second, six),
        hn::Or(hn::And(hn::ShiftRight<4>(third), four), hn::And(hn::ShiftRight<2>(second), upper))};
    HWY_UNROLL(2)
    for (std::size_t i = 0; i < 2; ++i) {
      scales[4 * i] = PrepareScale(hn::And(scale_words[i], byte));
      scales[4 * i + 1] = PrepareScale(hn::And(hn::ShiftRight<8>(scale_words[i]), byte));
      scales[4 * i + 2] = PrepareScale(hn::And(hn::ShiftRight<16>(scale_words[i]), byte));
      scales[4 * i + 3] = PrepareScale(hn::ShiftRight<24>(scale_words[i]));
      corrections[2 * i] = hn::And(min_words[i], even);
      corrections[2 * i + 1] = hn::And(hn::ShiftRight<8>(min_words[i]), even);
    }
  }
}
template <WeightType kType>
inline constexpr std::size_t kCorrections = kType == WeightType::kQ6_K ? 8 : 4;
// Where the sums that corrections multiply with start in the 24 of a block of activations.
template <WeightType kType>
inline constexpr std::size_t kCorrectionSums = kType == WeightType::kQ6_K ? 0 : 16;

// The quantised activations from some token on; token t's are t strides further.
struct TokenRows {
  explicit TokenRows(const QuantizedRows& rows)
      : values(rows.values),
        scales(rows.scales),
        sums(rows.sums),
        value_stride(rows.value_stride),
        scale_stride(rows.scale_stride),
        sum_stride(rows.sum_stride) {}

  // From `tokens` tokens, and from `blocks` blocks of kValues columns further on.
  TokenRows From(std::size_t tokens) const {
    TokenRows from = *this;
    from.values += tokens * value_stride;
    from.scales += tokens * scale_stride;
    from.sums += tokens * sum_stride;
    return from;
  }
  template <std::size_t kValues>
  TokenRows FromBlock(std::size_t blocks) const {
    TokenRows from = *this;
    from.values += blocks * kValues;
    from.scales += blocks;
    from.sums += blocks * (kValues == 32 ? 1 : 24);
    return from;
  }

  const std::int8_t* values;
  const float* scales;
  const std::int16_t* sums;
  std::size_t value_stride;
  std::size_t scale_stride;
  std::size_t sum_stride;
};

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard
