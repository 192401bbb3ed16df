// What the quantised kernels know of the formats: how packed levels become bytes and packed scales become vectors.
//
// Apart because the kernels for few tokens (quantized_matmul-inl.hpp) and those for many (quantized_panel-inl.hpp) share
// it. A new format is a case here and in packed_layout.hpp.

#include <cstddef>
#include <cstdint>

#include "inlay/core/macros.hpp"
#include "inlay/formats/blocks.hpp"
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

// Formats whose levels are looked up in a table of bytes, and those whose bytes need all eight bits.
template <WeightType kType>
inline constexpr bool kIsIq4 = kType == WeightType::kIQ4_NL || kType == WeightType::kIQ4_XS;
template <WeightType kType>
inline constexpr bool kHasTable = kIsIq4<kType> || kType == WeightType::kMXFP4;
// Bits of the bytes that levels unpack to. MXFP4: -12 .. 12, as 0 .. 24.
template <WeightType kType>
inline constexpr int kByteBits = kIsIq4<kType> ? 8 : kType == WeightType::kMXFP4 ? 5 : LevelBits(kType);
// What is subtracted from a byte: value = scale * (byte - offset). Bytes of fewer than 8 bits are unsigned; those of 8 are
// signed, but 128 is added to them on targets that multiply unsigned bytes.
template <WeightType kType>
inline constexpr int kByteOffset = kByteBits<kType> == 8        ? (INLAY_DOT4_UNSIGNED ? 128 : 0)
                                   : kType == WeightType::kMXFP4 ? 12
                                                                 : LevelOffset(kType);

// The bytes that the 16 levels of a format with a table stand for.
template <WeightType kType>
inline constexpr auto kByteTable = [] {
  struct alignas(16) {
    std::uint8_t bytes[16];
  } table{};
  for (std::size_t i = 0; i < 16; ++i) {
    const int level = kIsIq4<kType> ? kIq4Levels[i] : kMxfp4Levels[i];
    table.bytes[i] = static_cast<std::uint8_t>(level + kByteOffset<kType>);
  }
  return table;
}();

// Bytes 0 .. 15 to the bytes of a format's table.
template <WeightType kType>
HWY_INLINE Words LookupBytes(Words levels) {
#if HWY_TARGET == HWY_SCALAR
  const std::uint32_t word = static_cast<std::uint32_t>(hn::GetLane(levels));
  std::uint32_t bytes = 0;
  for (int shift = 0; shift < 32; shift += 8) {
    bytes |= std::uint32_t{kByteTable<kType>.bytes[word >> shift & 15]} << shift;
  }
  return hn::Set(WordTag(), static_cast<std::int32_t>(bytes));
#else
  const hn::Repartition<std::uint8_t, WordTag> d8;
  return hn::BitCast(WordTag(), hn::TableLookupBytes(hn::LoadDup128(d8, kByteTable<kType>.bytes), hn::BitCast(d8, levels)));
#endif
}

// The levels of 32 columns as 8 words of bytes (word i: columns 4i .. 4i+3). `packed` points at the lanes wanted. Shifts
// cross bytes; the masks remove what came over.
template <WeightType kType>
HWY_INLINE void UnpackLevels(const std::uint8_t* HWY_RESTRICT packed, Words* HWY_RESTRICT words) {
  constexpr int kBits = LevelBits(kType);
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
  if constexpr (kBits == 2) {
    const Words two = hn::Set(d, 0x03030303);
    HWY_UNROLL(2)
    for (std::size_t i = 0; i < 2; ++i) {
      const Words fields = LoadFields(packed + i * kWordBytes);
      words[4 * i] = hn::And(fields, two);
      words[4 * i + 1] = hn::And(hn::ShiftRight<2>(fields), two);
      words[4 * i + 2] = hn::And(hn::ShiftRight<4>(fields), two);
      words[4 * i + 3] = hn::And(hn::ShiftRight<6>(fields), two);
    }
    return;
  }
  if constexpr (kBits == 3) {
    const Words a = LoadFields(packed), b = LoadFields(packed + kWordBytes), c = LoadFields(packed + 2 * kWordBytes);
    const Words two = hn::Set(d, 0x03030303);
    const Words third = hn::Set(d, 0x04040404);
    const Words three = hn::Set(d, 0x07070707);
    words[0] = hn::And(a, three);
    words[1] = hn::And(hn::ShiftRight<3>(a), three);
    words[2] = hn::And(b, three);
    words[3] = hn::And(hn::ShiftRight<3>(b), three);
    words[4] = hn::And(c, three);
    words[5] = hn::And(hn::ShiftRight<3>(c), three);
    words[6] = hn::Or(hn::And(hn::ShiftRight<6>(a), two), hn::And(hn::ShiftRight<4>(c), third));
    words[7] = hn::Or(hn::And(hn::ShiftRight<6>(b), two), hn::And(hn::ShiftRight<5>(c), third));
    return;
  }
  const Words low = hn::Set(d, 0x0F0F0F0F);
  HWY_UNROLL(4)
  for (std::size_t i = 0; i < 4; ++i) {
    const Words nibbles = LoadFields(packed + i * kWordBytes);
    words[i] = hn::And(nibbles, low);
    words[i + 4] = hn::And(hn::ShiftRight<4>(nibbles), low);
    if constexpr (kHasTable<kType>) {
      words[i] = LookupBytes<kType>(words[i]);
      words[i + 4] = LookupBytes<kType>(words[i + 4]);
    }
  }
  if constexpr (kBits == 5) {
    const Words bits = LoadFields(packed + 4 * kWordBytes);
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
      const Words bits = LoadFields(packed + (4 + i) * kWordBytes);
      words[4 * i] = hn::Or(words[4 * i], hn::And(hn::ShiftLeft<4>(bits), upper));
      words[4 * i + 1] = hn::Or(words[4 * i + 1], hn::And(hn::ShiftLeft<2>(bits), upper));
      words[4 * i + 2] = hn::Or(words[4 * i + 2], hn::And(bits, upper));
      words[4 * i + 3] = hn::Or(words[4 * i + 3], hn::And(hn::ShiftRight<2>(bits), upper));
    }
  }
}

// The largest byte of `bits` bits, and of 8, which are signed, the largest magnitude; for the length of sums in 16 bits.
constexpr int MostByte(int bits) { return bits == 8 ? 127 : (1 << bits) - 1; }

#if INLAY_MADDUBS
// Bytes of weights and activations multiplied and added to 16-bit pairs; weights are signed if they have all 8 bits.
template <int kBits>
HWY_INLINE Words MultiplyToPairs(Words weights, Words activations) {
  if constexpr (kBits < 8) return MultiplyBytesToPairs(weights, activations);
  return MultiplyBytesToPairs(AbsoluteBytes(weights), ApplySigns(activations, weights));
}
#endif

// A sub-scale per lane in the form that AccumulateScaled wants for bytes of kBits bits: where bytes multiply to 16-bit pairs,
// in both halves; where the sums of few bits fit 16 bits, in the lower half alone; else as a number of 32 bits.
template <int kBits>
HWY_INLINE Words PrepareScale(Words scale) {
#if INLAY_MADDUBS
  return hn::Or(hn::And(scale, hn::Set(WordTag(), 0xFFFF)), hn::ShiftLeft<16>(scale));
#elif INLAY_DOT4_UNSIGNED
  return kBits <= 4 ? hn::And(scale, hn::Set(WordTag(), 0xFFFF)) : scale;
#else
  return scale;
#endif
}

// The same from the signed lower (kHalf 0) or upper half of each lane.
template <int kBits, int kHalf>
HWY_INLINE Words PrepareHalf(Words scales) {
#if INLAY_MADDUBS
  alignas(16) static constexpr std::uint8_t kOrder[16] = {2 * kHalf,      2 * kHalf + 1, 2 * kHalf,      2 * kHalf + 1,
                                                          2 * kHalf + 4,  2 * kHalf + 5, 2 * kHalf + 4,  2 * kHalf + 5,
                                                          2 * kHalf + 8,  2 * kHalf + 9, 2 * kHalf + 8,  2 * kHalf + 9,
                                                          2 * kHalf + 12, 2 * kHalf + 13, 2 * kHalf + 12, 2 * kHalf + 13};
  const hn::Repartition<std::uint8_t, WordTag> d8;
  return hn::BitCast(WordTag(), hn::TableLookupBytes(hn::BitCast(d8, scales), hn::LoadDup128(d8, kOrder)));
#else
  if constexpr (INLAY_DOT4_UNSIGNED && kBits <= 4) {
    if constexpr (kHalf == 0) return PrepareScale<kBits>(scales);
    const hn::RebindToUnsigned<WordTag> without_sign;
    return hn::BitCast(WordTag(), hn::ShiftRight<16>(hn::BitCast(without_sign, scales)));
  }
  return hn::ShiftRight<16>(kHalf == 0 ? hn::ShiftLeft<16>(scales) : scales);
#endif
}

// The same from byte kByte of each lane, unsigned.
template <int kByte>
HWY_INLINE Words PrepareByte(Words scales) {
#if INLAY_MADDUBS || INLAY_DOT4_UNSIGNED
  constexpr std::uint8_t kZero = 0x80;
  constexpr std::uint8_t kUpper = INLAY_MADDUBS ? 0 : kZero;
  alignas(16) static constexpr std::uint8_t kOrder[16] = {
      kByte,     kZero, kByte | kUpper,       kZero, kByte + 4,  kZero, (kByte + 4) | kUpper,  kZero,
      kByte + 8, kZero, (kByte + 8) | kUpper, kZero, kByte + 12, kZero, (kByte + 12) | kUpper, kZero};
  const hn::Repartition<std::uint8_t, WordTag> d8;
  return hn::BitCast(WordTag(), hn::TableLookupBytesOr0(hn::BitCast(d8, scales), hn::LoadDup128(d8, kOrder)));
#else
  return hn::And(hn::ShiftRight<8 * kByte>(scales), hn::Set(WordTag(), 0xFF));
#endif
}

// Columns that share a sub-scale in a block of 256. Formats with blocks of 32 have none.
template <WeightType kType>
inline constexpr std::size_t kGroupColumns =
    kType == WeightType::kQ2_K || kType == WeightType::kQ3_K || kType == WeightType::kQ6_K ? 16 : 32;
// Formats whose value is scale * level - min, or scale * level + m.
template <WeightType kType>
inline constexpr bool kHasMin = kType == WeightType::kQ4_1 || kType == WeightType::kQ5_1 || kType == WeightType::kQ2_K ||
                                kType == WeightType::kQ4_K || kType == WeightType::kQ5_K;

// The float scales of the kWordLanes rows from `lane` on, of a block; and m or dmin where the format has one.
template <WeightType kType>
HWY_INLINE Floats LoadBlockScale(const std::uint8_t* HWY_RESTRICT block, std::size_t lane) {
  if constexpr (kType == WeightType::kMXFP4) {
    // See Mxfp4Scale: exponent e - 1, or a subnormal number for e = 0 and 1, which is the larger one exactly there.
    const WordTag d;
    const Words e = LoadBytesUnsigned(block + lane);
    const Words one = hn::Set(d, 1);
    const Words normal = hn::ShiftLeft<23>(hn::Sub(e, one));
    return hn::BitCast(FloatTag(), hn::Max(normal, hn::ShiftLeft<21>(hn::Add(hn::Min(e, one), one))));
  } else {
    return LoadHalves(block + 2 * lane);
  }
}
HWY_INLINE Floats LoadBlockMin(const std::uint8_t* HWY_RESTRICT block, std::size_t lane) {
  return LoadHalves(block + 2 * kRowTile + 2 * lane);
}

// Integers of a block of 256 columns, for kWordLanes rows from `lane` on:
//   scales[g]       prepared sub-scale of group g
//   corrections[j]  pairs of 16-bit values: sum over j of MultiplyAddPairs(corrections[j], activation sums 2j and 2j + 1)
//                   is the integer part of the mins, or what kByteOffset times is too much in the product. kCorrections of
//                   them, over sums of as many columns as a group has.
template <WeightType kType>
HWY_INLINE void LoadGroupScales(const std::uint8_t* HWY_RESTRICT block, std::size_t lane, Words* HWY_RESTRICT scales,
                                Words* HWY_RESTRICT corrections) {
  [[maybe_unused]] constexpr int kBits = kByteBits<kType>;
  const WordTag d;
  if constexpr (kType == WeightType::kTQ2_0) {
    HWY_UNROLL(8)
    for (std::size_t g = 0; g < 8; ++g) scales[g] = PrepareScale<kBits>(hn::Set(d, 1));
    HWY_UNROLL(4)
    for (std::size_t j = 0; j < 4; ++j) corrections[j] = hn::Set(d, 0x00010001);
  } else if constexpr (kType == WeightType::kQ2_K) {
    const Words nibbles = hn::Set(d, 0x000F000F);
    HWY_UNROLL(4)
    for (std::size_t i = 0; i < 4; ++i) {
      const Words word = LoadWords(block + 4 * kRowTile + i * kWordBytes + 4 * lane);
      const Words first = hn::And(word, nibbles);
      const Words second = hn::And(hn::ShiftRight<8>(word), nibbles);
      scales[4 * i] = PrepareHalf<kBits, 0>(first);
      scales[4 * i + 1] = PrepareHalf<kBits, 1>(first);
      scales[4 * i + 2] = PrepareHalf<kBits, 0>(second);
      scales[4 * i + 3] = PrepareHalf<kBits, 1>(second);
      corrections[2 * i] = hn::And(hn::ShiftRight<4>(word), nibbles);
      corrections[2 * i + 1] = hn::And(hn::ShiftRight<12>(word), nibbles);
    }
  } else if constexpr (kType == WeightType::kQ3_K) {
    const std::uint8_t* words = block + 2 * kRowTile + 4 * lane;
    const Words low[2] = {LoadWords(words), LoadWords(words + kWordBytes)};
    const Words upper = LoadWords(words + 2 * kWordBytes);
    const Words four = hn::Set(d, 0x0F0F0F0F);
    const Words two = hn::Set(d, 0x30303030);
    const Words scale_words[4] = {
        hn::Or(hn::And(low[0], four), hn::And(hn::ShiftLeft<4>(upper), two)),
        hn::Or(hn::And(low[1], four), hn::And(hn::ShiftLeft<2>(upper), two)),
        hn::Or(hn::And(hn::ShiftRight<4>(low[0]), four), hn::And(upper, two)),
        hn::Or(hn::And(hn::ShiftRight<4>(low[1]), four), hn::And(hn::ShiftRight<2>(upper), two))};
    HWY_UNROLL(4)
    for (std::size_t i = 0; i < 4; ++i) {
      const Words first = SubtractPairs(hn::And(scale_words[i], hn::Set(d, 0x00FF00FF)), 32);
      const Words second = SubtractPairs(hn::And(hn::ShiftRight<8>(scale_words[i]), hn::Set(d, 0x00FF00FF)), 32);
      scales[4 * i] = PrepareHalf<kBits, 0>(first);
      scales[4 * i + 1] = PrepareHalf<kBits, 1>(first);
      scales[4 * i + 2] = PrepareHalf<kBits, 0>(second);
      scales[4 * i + 3] = PrepareHalf<kBits, 1>(second);
      corrections[2 * i] = first;
      corrections[2 * i + 1] = second;
    }
  } else if constexpr (kType == WeightType::kIQ4_XS) {
    const Words upper = LoadShorts(block + 2 * kRowTile + 2 * lane);
    const Words low = LoadWords(block + 4 * kRowTile + 4 * lane);
    // Groups 2j and 2j + 1 in the halves of a word.
    const Words nibble = hn::Set(d, 0x0F);
    const Words two = hn::Set(d, 0x03);
    HWY_UNROLL(4)
    for (std::size_t j = 0; j < 4; ++j) {
      const auto group = [&](int g) HWY_ATTR {
        const Words four_bits = hn::And(hn::ShiftRightSame(low, 4 * g), nibble);
        return hn::Or(four_bits, hn::ShiftLeft<4>(hn::And(hn::ShiftRightSame(upper, 2 * g), two)));
      };
      const int g = static_cast<int>(2 * j);
      corrections[j] = SubtractPairs(hn::Or(group(g), hn::ShiftLeft<16>(group(g + 1))), 32);
      scales[2 * j] = PrepareHalf<kBits, 0>(corrections[j]);
      scales[2 * j + 1] = PrepareHalf<kBits, 1>(corrections[j]);
    }
  } else if constexpr (kType == WeightType::kQ6_K) {
    const std::uint8_t* bytes = block + 2 * kRowTile + lane;
    const Words low = hn::Set(d, 0xFFFF);
    HWY_UNROLL(8)
    for (std::size_t i = 0; i < 8; ++i) {
      const Words even = LoadBytesSigned(bytes + 2 * i * kRowTile);
      const Words odd = LoadBytesSigned(bytes + (2 * i + 1) * kRowTile);
      scales[2 * i] = PrepareScale<kBits>(even);
      scales[2 * i + 1] = PrepareScale<kBits>(odd);
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
    const Words scale_words[2] = {hn::And(first, six),
                                  hn::Or(hn::And(third, four), hn::And(hn::ShiftRight<2>(first), upper))};
    const Words min_words[2] = {
        hn::And(second, six),
        hn::Or(hn::And(hn::ShiftRight<4>(third), four), hn::And(hn::ShiftRight<2>(second), upper))};
    HWY_UNROLL(2)
    for (std::size_t i = 0; i < 2; ++i) {
      scales[4 * i] = PrepareByte<0>(scale_words[i]);
      scales[4 * i + 1] = PrepareByte<1>(scale_words[i]);
      scales[4 * i + 2] = PrepareByte<2>(scale_words[i]);
      scales[4 * i + 3] = PrepareByte<3>(scale_words[i]);
      corrections[2 * i] = hn::And(min_words[i], even);
      corrections[2 * i + 1] = hn::And(hn::ShiftRight<8>(min_words[i]), even);
    }
  }
}
template <WeightType kType>
inline constexpr std::size_t kCorrections = 128 / kGroupColumns<kType>;
// Where the sums that corrections multiply with start in the 24 of a block of activations.
template <WeightType kType>
inline constexpr std::size_t kCorrectionSums = kGroupColumns<kType> == 16 ? 0 : 16;

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
