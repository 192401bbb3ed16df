// The scalar codec: the definition of what every weight type's bits mean, and how floats are turned into them. Kernels,
// packing and tests are measured against it. Portable C++, usable without SIMD.
#ifndef INLAY_FORMATS_CODEC_HPP_
#define INLAY_FORMATS_CODEC_HPP_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "inlay/core/macros.hpp"
#include "inlay/formats/blocks.hpp"
#include "inlay/formats/fit.hpp"
#include "inlay/formats/float16.hpp"
#include "inlay/formats/weight_type.hpp"

INLAY_BEGIN_NAMESPACE

// The 6-bit scales and mins of a Q4_K or Q5_K block. Bytes 0..3 hold scales 0..3 and bytes 4..7 mins 0..3 in their low
// six bits; byte 8 + i holds the low nibbles of scale and min 4 + i, whose upper bits are on top of bytes i and 4 + i.
struct GroupScales {
  std::uint8_t scale[8];
  std::uint8_t min[8];
};

constexpr GroupScales UnpackGroupScales(const std::uint8_t (&packed)[12]) {
  GroupScales groups{};
  for (int i = 0; i < 4; ++i) {
    groups.scale[i] = static_cast<std::uint8_t>(packed[i] & 63);
    groups.min[i] = static_cast<std::uint8_t>(packed[4 + i] & 63);
    groups.scale[4 + i] = static_cast<std::uint8_t>((packed[8 + i] & 15) | (packed[i] >> 6 << 4));
    groups.min[4 + i] = static_cast<std::uint8_t>((packed[8 + i] >> 4) | (packed[4 + i] >> 6 << 4));
  }
  return groups;
}

constexpr void PackGroupScales(const GroupScales& groups, std::uint8_t (&packed)[12]) {
  for (int i = 0; i < 4; ++i) {
    packed[i] = static_cast<std::uint8_t>(groups.scale[i] | (groups.scale[4 + i] >> 4 << 6));
    packed[4 + i] = static_cast<std::uint8_t>(groups.min[i] | (groups.min[4 + i] >> 4 << 6));
    packed[8 + i] = static_cast<std::uint8_t>((groups.scale[4 + i] & 15) | ((groups.min[4 + i] & 15) << 4));
  }
}

namespace detail {

// Puts `level` at bit `shift` of a byte that is zero there.
constexpr void PutBits(std::uint8_t& byte, int level, int shift) {
  byte = static_cast<std::uint8_t>(byte | level << shift);
}

// Nibbles of 32 levels in the order of Q4_0: j and j + 16 share a byte.
inline void StoreNibbles(const std::uint8_t* levels, std::uint8_t (&qs)[16]) {
  for (int j = 0; j < 16; ++j) qs[j] = static_cast<std::uint8_t>((levels[j] & 15) | ((levels[j + 16] & 15) << 4));
}
inline void StoreFifthBits(const std::uint8_t* levels, std::uint8_t (&qh)[4]) {
  std::uint32_t bits = 0;
  for (int j = 0; j < 32; ++j) bits |= static_cast<std::uint32_t>(levels[j] >> 4) << j;
  std::memcpy(qh, &bits, 4);
}
template <class Block>
int FiveBitLevel(const Block& block, int j) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, block.qh, 4);
  const int nibble = j < 16 ? block.qs[j] & 15 : block.qs[j - 16] >> 4;
  return nibble | static_cast<int>((bits >> j & 1u) << 4);
}

}  // namespace detail

// One weight type: kValues values per Block; Decode writes kValues floats, Encode reads kValues finite floats.
//
// Decoding is exact to the bit on every machine: a binary16 scale (11 bits) times a 6-bit sub-scale times a 5-bit level
// fits a float's 24 bits (IQ4_XS: 11 + 5 + 7), so each formula rounds at most once, whether or not the compiler fuses the
// multiply-add.
// Encoding minimises the plain squared error by a search (fit.hpp). It is deterministic for one build; fused multiply-adds
// may flip a tie between two builds. Scales saturate at the largest binary16, so finite input never decodes to NaN or
// infinity (an exception is F16 itself, which rounds values beyond 65504 to infinity as IEEE 754 says).
template <WeightType kType>
struct Codec;

template <>
struct Codec<WeightType::kF32> {
  using Block = float;
  static constexpr std::size_t kValues = 1;
  static void Decode(const Block& block, float* out) { *out = block; }
  static void Encode(const float* x, Block& block) { block = *x; }
};

template <>
struct Codec<WeightType::kF16> {
  using Block = std::uint16_t;
  static constexpr std::size_t kValues = 1;
  static void Decode(const Block& block, float* out) { *out = F16ToF32(block); }
  static void Encode(const float* x, Block& block) { block = F32ToF16(*x); }
};

template <>
struct Codec<WeightType::kBF16> {
  using Block = std::uint16_t;
  static constexpr std::size_t kValues = 1;
  static void Decode(const Block& block, float* out) { *out = BF16ToF32(block); }
  static void Encode(const float* x, Block& block) { block = F32ToBF16(*x); }
};

template <>
struct Codec<WeightType::kQ8_0> {
  using Block = BlockQ8_0;
  static constexpr std::size_t kValues = 32;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d);
    for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(block.qs[j]);
  }
  // With 8 bits a search gains nothing measurable: the extreme value maps to +-127.
  static void Encode(const float* x, Block& block) {
    const float extreme = detail::Extreme(x, 32);
    block.d = F32ToF16Saturated((extreme < 0 ? -extreme : extreme) / 127.0f);
    const float inverse = detail::Inverse(F16ToF32(block.d));
    for (int j = 0; j < 32; ++j) block.qs[j] = static_cast<std::int8_t>(detail::Level(inverse * x[j], -127, 127));
  }
};

template <>
struct Codec<WeightType::kQ4_0> {
  using Block = BlockQ4_0;
  static constexpr std::size_t kValues = 32;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d);
    for (int j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>((block.qs[j] & 15) - 8);
      out[j + 16] = d * static_cast<float>((block.qs[j] >> 4) - 8);
    }
  }
  static void Encode(const float* x, Block& block) {
    std::uint8_t levels[32];
    block.d = F32ToF16Saturated(detail::FitScale(x, 32, 8));
    detail::GridLevels(x, 32, F16ToF32(block.d), detail::EvenGrid{-8, 7}, levels);
    detail::StoreNibbles(levels, block.qs);
  }
};

template <>
struct Codec<WeightType::kQ4_1> {
  using Block = BlockQ4_1;
  static constexpr std::size_t kValues = 32;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d), m = F16ToF32(block.m);
    for (int j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>(block.qs[j] & 15) + m;
      out[j + 16] = d * static_cast<float>(block.qs[j] >> 4) + m;
    }
  }
  static void Encode(const float* x, Block& block) {
    std::uint8_t levels[32];
    const detail::Affine fit = detail::FitAffine(x, 32, 15, false);
    block.d = F32ToF16Saturated(fit.scale);
    block.m = F32ToF16Saturated(fit.base);
    detail::AffineLevels(x, 32, F16ToF32(block.d), F16ToF32(block.m), 15, levels);
    detail::StoreNibbles(levels, block.qs);
  }
};

template <>
struct Codec<WeightType::kQ5_0> {
  using Block = BlockQ5_0;
  static constexpr std::size_t kValues = 32;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d);
    for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(detail::FiveBitLevel(block, j) - 16);
  }
  static void Encode(const float* x, Block& block) {
    std::uint8_t levels[32];
    block.d = F32ToF16Saturated(detail::FitScale(x, 32, 16));
    detail::GridLevels(x, 32, F16ToF32(block.d), detail::EvenGrid{-16, 15}, levels);
    detail::StoreNibbles(levels, block.qs);
    detail::StoreFifthBits(levels, block.qh);
  }
};

template <>
struct Codec<WeightType::kQ5_1> {
  using Block = BlockQ5_1;
  static constexpr std::size_t kValues = 32;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d), m = F16ToF32(block.m);
    for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(detail::FiveBitLevel(block, j)) + m;
  }
  static void Encode(const float* x, Block& block) {
    std::uint8_t levels[32];
    const detail::Affine fit = detail::FitAffine(x, 32, 31, false);
    block.d = F32ToF16Saturated(fit.scale);
    block.m = F32ToF16Saturated(fit.base);
    detail::AffineLevels(x, 32, F16ToF32(block.d), F16ToF32(block.m), 31, levels);
    detail::StoreNibbles(levels, block.qs);
    detail::StoreFifthBits(levels, block.qh);
  }
};

template <>
struct Codec<WeightType::kIQ4_NL> {
  using Block = BlockIQ4_NL;
  static constexpr std::size_t kValues = 32;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d);
    for (int j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>(kIq4Levels[block.qs[j] & 15]);
      out[j + 16] = d * static_cast<float>(kIq4Levels[block.qs[j] >> 4]);
    }
  }
  static void Encode(const float* x, Block& block) {
    std::uint8_t levels[32];
    block.d = F32ToF16Saturated(detail::FitIq4Scale(x, 32));
    detail::GridLevels(x, 32, F16ToF32(block.d), detail::Iq4Grid{}, levels);
    detail::StoreNibbles(levels, block.qs);
  }
};

template <>
struct Codec<WeightType::kMXFP4> {
  using Block = BlockMXFP4;
  static constexpr std::size_t kValues = 32;
  static void Decode(const Block& block, float* out) {
    const float d = Mxfp4Scale(block.e);
    for (int j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>(kMxfp4Levels[block.qs[j] & 15]);
      out[j + 16] = d * static_cast<float>(kMxfp4Levels[block.qs[j] >> 4]);
    }
  }
  static void Encode(const float* x, Block& block) {
    std::uint8_t levels[32];
    block.e = detail::FitMxfp4Exponent(x, 32);
    detail::GridLevels(x, 32, Mxfp4Scale(block.e), detail::Mxfp4Grid{}, levels);
    detail::StoreNibbles(levels, block.qs);
  }
};

template <>
struct Codec<WeightType::kQ2_K> {
  using Block = BlockQ2_K;
  static constexpr std::size_t kValues = 256;
  // The level 0 .. 3 of value i (0 .. 255), and the way back into a zeroed block.
  static int LevelOf(const Block& block, int i) { return block.qs[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3; }
  static void PutLevel(Block& block, int i, int level) {
    detail::PutBits(block.qs[i / 128 * 32 + i % 32], level, i / 32 % 4 * 2);
  }
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d), dmin = F16ToF32(block.dmin);
    for (int g = 0; g < 16; ++g) {
      const float scale = d * static_cast<float>(block.scales[g] & 15);
      const float min = dmin * static_cast<float>(block.scales[g] >> 4);
      for (int j = 0; j < 16; ++j) out[16 * g + j] = scale * static_cast<float>(LevelOf(block, 16 * g + j)) - min;
    }
  }
  static void Encode(const float* x, Block& block) {
    detail::GroupedLevels<16> grouped;
    detail::EncodeGroups(x, 3, 15, grouped);
    block = {};
    block.d = grouped.d;
    block.dmin = grouped.dmin;
    for (int g = 0; g < 16; ++g) block.scales[g] = static_cast<std::uint8_t>(grouped.scale[g] | (grouped.min[g] << 4));
    for (int i = 0; i < 256; ++i) PutLevel(block, i, grouped.levels[i]);
  }
};

template <>
struct Codec<WeightType::kQ3_K> {
  using Block = BlockQ3_K;
  static constexpr std::size_t kValues = 256;
  // The level 0 .. 7 of value i, the scale 0 .. 63 of group g, and the ways back into a zeroed block. Byte g % 8 holds the low
  // nibbles of scales g and g + 8, byte 8 + i the upper two bits of scales i, i + 4, i + 8 and i + 12.
  static int LevelOf(const Block& block, int i) {
    const int low = block.qs[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
    return low | (block.hmask[i % 32] >> (i / 32) & 1) << 2;
  }
  static void PutLevel(Block& block, int i, int level) {
    detail::PutBits(block.qs[i / 128 * 32 + i % 32], level & 3, i / 32 % 4 * 2);
    detail::PutBits(block.hmask[i % 32], level >> 2, i / 32);
  }
  static int ScaleOf(const Block& block, int g) {
    return (block.scales[g % 8] >> (g / 8 * 4) & 15) | (block.scales[8 + g % 4] >> (g / 4 * 2) & 3) << 4;
  }
  static void PutScale(Block& block, int g, int scale) {
    detail::PutBits(block.scales[g % 8], scale & 15, g / 8 * 4);
    detail::PutBits(block.scales[8 + g % 4], scale >> 4, g / 4 * 2);
  }
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d);
    for (int g = 0; g < 16; ++g) {
      const float scale = d * static_cast<float>(ScaleOf(block, g) - 32);
      for (int j = 0; j < 16; ++j) out[16 * g + j] = scale * static_cast<float>(LevelOf(block, 16 * g + j) - 4);
    }
  }
  static void Encode(const float* x, Block& block) {
    constexpr detail::EvenGrid kGrid{-4, 3};
    float fits[16];
    for (int g = 0; g < 16; ++g) fits[g] = detail::FitScale(x + 16 * g, 16, 4);
    int scales[16];
    block = {};
    block.d = detail::ChooseScales(x, fits, -32, 31, kGrid, scales);
    for (int g = 0; g < 16; ++g) {
      std::uint8_t levels[16];
      detail::GridLevels(x + 16 * g, 16, F16ToF32(block.d) * static_cast<float>(scales[g]), kGrid, levels);
      PutScale(block, g, scales[g] + 32);
      for (int j = 0; j < 16; ++j) PutLevel(block, 16 * g + j, levels[j]);
    }
  }
};

template <>
struct Codec<WeightType::kQ4_K> {
  using Block = BlockQ4_K;
  static constexpr std::size_t kValues = 256;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d), dmin = F16ToF32(block.dmin);
    const GroupScales groups = UnpackGroupScales(block.scales);
    for (int g = 0; g < 8; ++g) {
      const float scale = d * static_cast<float>(groups.scale[g]);
      const float min = dmin * static_cast<float>(groups.min[g]);
      const std::uint8_t* qs = block.qs + g / 2 * 32;
      const int shift = g % 2 * 4;
      for (int j = 0; j < 32; ++j) out[32 * g + j] = scale * static_cast<float>(qs[j] >> shift & 15) - min;
    }
  }
  static void Encode(const float* x, Block& block) {
    detail::GroupedLevels<8> grouped;
    detail::EncodeGroups(x, 15, 63, grouped);
    block.d = grouped.d;
    block.dmin = grouped.dmin;
    GroupScales groups;
    std::memcpy(groups.scale, grouped.scale, 8);
    std::memcpy(groups.min, grouped.min, 8);
    PackGroupScales(groups, block.scales);
    for (int i = 0; i < 128; ++i) {
      const std::uint8_t* levels = grouped.levels + i / 32 * 64 + i % 32;
      block.qs[i] = static_cast<std::uint8_t>(levels[0] | (levels[32] << 4));
    }
  }
};

template <>
struct Codec<WeightType::kQ5_K> {
  using Block = BlockQ5_K;
  static constexpr std::size_t kValues = 256;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d), dmin = F16ToF32(block.dmin);
    const GroupScales groups = UnpackGroupScales(block.scales);
    for (int g = 0; g < 8; ++g) {
      const float scale = d * static_cast<float>(groups.scale[g]);
      const float min = dmin * static_cast<float>(groups.min[g]);
      const std::uint8_t* qs = block.qs + g / 2 * 32;
      const int shift = g % 2 * 4;
      for (int j = 0; j < 32; ++j) {
        const int level = (qs[j] >> shift & 15) | (block.qh[j] >> g & 1) << 4;
        out[32 * g + j] = scale * static_cast<float>(level) - min;
      }
    }
  }
  static void Encode(const float* x, Block& block) {
    detail::GroupedLevels<8> grouped;
    detail::EncodeGroups(x, 31, 63, grouped);
    block.d = grouped.d;
    block.dmin = grouped.dmin;
    GroupScales groups;
    std::memcpy(groups.scale, grouped.scale, 8);
    std::memcpy(groups.min, grouped.min, 8);
    PackGroupScales(groups, block.scales);
    for (int i = 0; i < 128; ++i) {
      const std::uint8_t* levels = grouped.levels + i / 32 * 64 + i % 32;
      block.qs[i] = static_cast<std::uint8_t>((levels[0] & 15) | ((levels[32] & 15) << 4));
    }
    for (int j = 0; j < 32; ++j) {
      int bits = 0;
      for (int g = 0; g < 8; ++g) bits |= grouped.levels[32 * g + j] >> 4 << g;
      block.qh[j] = static_cast<std::uint8_t>(bits);
    }
  }
};

template <>
struct Codec<WeightType::kQ6_K> {
  using Block = BlockQ6_K;
  static constexpr std::size_t kValues = 256;
  // The level 0 .. 63 of value i (0 .. 255).
  static int LevelOf(const Block& block, int i) {
    const int half = i / 128, in_half = i % 128;
    const int low = block.ql[64 * half + in_half % 64] >> (in_half / 64 * 4) & 15;
    const int high = block.qh[32 * half + in_half % 32] >> (in_half / 32 * 2) & 3;
    return low | high << 4;
  }
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d);
    for (int g = 0; g < 16; ++g) {
      const float scale = d * static_cast<float>(block.scales[g]);
      for (int j = 0; j < 16; ++j) out[16 * g + j] = scale * static_cast<float>(LevelOf(block, 16 * g + j) - 32);
    }
  }
  static void Encode(const float* x, Block& block) {
    constexpr detail::EvenGrid kGrid{-32, 31};
    float fits[16];
    for (int g = 0; g < 16; ++g) fits[g] = detail::FitScale(x + 16 * g, 16, 32);
    // As the levels, the scales have one value more on the negative side.
    int scales[16];
    block.d = detail::ChooseScales(x, fits, -128, 127, kGrid, scales);
    std::uint8_t levels[256];
    for (int g = 0; g < 16; ++g) {
      block.scales[g] = static_cast<std::int8_t>(scales[g]);
      detail::GridLevels(x + 16 * g, 16, F16ToF32(block.d) * static_cast<float>(scales[g]), kGrid, levels + 16 * g);
    }
    for (int half = 0; half < 2; ++half) {
      const std::uint8_t* l = levels + 128 * half;
      for (int j = 0; j < 64; ++j) {
        block.ql[64 * half + j] = static_cast<std::uint8_t>((l[j] & 15) | ((l[j + 64] & 15) << 4));
      }
      for (int j = 0; j < 32; ++j) {
        block.qh[32 * half + j] = static_cast<std::uint8_t>((l[j] >> 4) | (l[j + 32] >> 4 << 2) |
                                                            (l[j + 64] >> 4 << 4) | (l[j + 96] >> 4 << 6));
      }
    }
  }
};

template <>
struct Codec<WeightType::kIQ4_XS> {
  using Block = BlockIQ4_XS;
  static constexpr std::size_t kValues = 256;
  // The scale 0 .. 63 of group g, and the way back into a zeroed block.
  static int ScaleOf(const Block& block, int g) {
    return (block.scales_l[g / 2] >> (g % 2 * 4) & 15) | (block.scales_h >> (2 * g) & 3) << 4;
  }
  static void PutScale(Block& block, int g, int scale) {
    detail::PutBits(block.scales_l[g / 2], scale & 15, g % 2 * 4);
    block.scales_h = static_cast<std::uint16_t>(block.scales_h | (scale >> 4) << (2 * g));
  }
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d);
    for (int g = 0; g < 8; ++g, out += 32) {
      const float scale = d * static_cast<float>(ScaleOf(block, g) - 32);
      const std::uint8_t* qs = block.qs + 16 * g;
      for (int j = 0; j < 16; ++j) {
        out[j] = scale * static_cast<float>(kIq4Levels[qs[j] & 15]);
        out[j + 16] = scale * static_cast<float>(kIq4Levels[qs[j] >> 4]);
      }
    }
  }
  static void Encode(const float* x, Block& block) {
    float fits[8];
    for (int g = 0; g < 8; ++g) fits[g] = detail::FitIq4Scale(x + 32 * g, 32);
    int scales[8];
    block = {};
    block.d = detail::ChooseScales(x, fits, -32, 31, detail::Iq4Grid{}, scales);
    for (int g = 0; g < 8; ++g) {
      std::uint8_t levels[32];
      detail::GridLevels(x + 32 * g, 32, F16ToF32(block.d) * static_cast<float>(scales[g]), detail::Iq4Grid{}, levels);
      PutScale(block, g, scales[g] + 32);
      for (int j = 0; j < 16; ++j) block.qs[16 * g + j] = static_cast<std::uint8_t>(levels[j] | (levels[j + 16] << 4));
    }
  }
};

template <>
struct Codec<WeightType::kTQ2_0> {
  using Block = BlockTQ2_0;
  static constexpr std::size_t kValues = 256;
  static int LevelOf(const Block& block, int i) { return block.qs[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3; }
  static void PutLevel(Block& block, int i, int level) {
    detail::PutBits(block.qs[i / 128 * 32 + i % 32], level, i / 32 % 4 * 2);
  }
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d);
    for (int i = 0; i < 256; ++i) out[i] = d * static_cast<float>(LevelOf(block, i) - 1);
  }
  // Ternary: level 3, twice the scale, is not used.
  static void Encode(const float* x, Block& block) {
    std::uint8_t levels[256];
    block = {};
    block.d = F32ToF16Saturated(detail::FitTernaryScale(x, 256));
    detail::GridLevels(x, 256, F16ToF32(block.d), detail::EvenGrid{-1, 1}, levels);
    for (int i = 0; i < 256; ++i) PutLevel(block, i, levels[i]);
  }
};

// Numbers of five digits 0 .. 2, stored as the byte above number * 256 / 243: multiplying the byte with 3^n modulo 256
// brings digit n to the front, and another 3 pushes it out. Of a byte of qh only the first four digits are used.
template <>
struct Codec<WeightType::kTQ1_0> {
  using Block = BlockTQ1_0;
  static constexpr std::size_t kValues = 256;
  static int LevelOf(const Block& block, int i) {
    constexpr int kPowers[5] = {1, 3, 9, 27, 81};
    const Place place = PlaceOf(i);
    const int byte = place.byte < 48 ? block.qs[place.byte] : block.qh[place.byte - 48];
    return (byte * kPowers[place.digit] & 255) * 3 >> 8;
  }
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d);
    for (int i = 0; i < 256; ++i) out[i] = d * static_cast<float>(LevelOf(block, i) - 1);
  }
  static void Encode(const float* x, Block& block) {
    constexpr int kPlaceValues[5] = {81, 27, 9, 3, 1};
    std::uint8_t levels[256];
    block.d = F32ToF16Saturated(detail::FitTernaryScale(x, 256));
    detail::GridLevels(x, 256, F16ToF32(block.d), detail::EvenGrid{-1, 1}, levels);
    int numbers[52] = {};
    for (int i = 0; i < 256; ++i) numbers[PlaceOf(i).byte] += levels[i] * kPlaceValues[PlaceOf(i).digit];
    const auto stored = [](int number) { return static_cast<std::uint8_t>((number * 256 + 242) / 243); };
    for (int i = 0; i < 48; ++i) block.qs[i] = stored(numbers[i]);
    for (int i = 0; i < 4; ++i) block.qh[i] = stored(numbers[48 + i]);
  }

 private:
  struct Place {
    int byte;  // of qs, then of qh
    int digit;
  };
  static Place PlaceOf(int i) {
    if (i < 160) return {i % 32, i / 32};
    if (i < 240) return {32 + (i - 160) % 16, (i - 160) / 16};
    return {48 + (i - 240) % 4, (i - 240) / 4};
  }
};

namespace detail {

// Blocks are copied out and in, because rows in a file need not be aligned.
template <WeightType kType>
void DecodeRowAs(const std::byte* src, std::size_t cols, float* out) {
  using Format = Codec<kType>;
  for (std::size_t i = 0; i < cols; i += Format::kValues, src += sizeof(typename Format::Block)) {
    typename Format::Block block;
    std::memcpy(&block, src, sizeof(block));
    Format::Decode(block, out + i);
  }
}

template <WeightType kType>
void EncodeRowAs(const float* src, std::size_t cols, std::byte* out) {
  using Format = Codec<kType>;
  for (std::size_t i = 0; i < cols; i += Format::kValues, out += sizeof(typename Format::Block)) {
    typename Format::Block block;
    Format::Encode(src + i, block);
    std::memcpy(out, &block, sizeof(block));
  }
}

// Calls f.template operator()<kType>() for the run-time `type`, which must be in the list.
template <WeightType... kTypes, class Function>
void ForType(WeightType type, Formats<kTypes...>, Function&& function) {
  [[maybe_unused]] const bool found =
      ((type == kTypes ? (function.template operator()<kTypes>(), true) : false) || ...);
  INLAY_ASSERT(found);
}

}  // namespace detail

// Decodes one row: `cols` floats from RowBytes(type, cols) bytes of any alignment. `cols` is a multiple of the type's
// block_values and the type one of AllFormats. Cost: 0.2 to 2 ns per value, scalar.
inline void DecodeRow(WeightType type, const std::byte* src, std::size_t cols, float* out) {
  detail::ForType(type, AllFormats{}, [&]<WeightType kType>() { detail::DecodeRowAs<kType>(src, cols, out); });
}

// Encodes one row: RowBytes(type, cols) bytes from `cols` finite floats. Preconditions as DecodeRow; src and out do not
// overlap. The same input gives the same bytes. Cost: 1 to 5 ns per value up to Q8_0, 35 to 115 with a search.
inline void EncodeRow(WeightType type, const float* src, std::size_t cols, std::byte* out) {
  detail::ForType(type, AllFormats{}, [&]<WeightType kType>() { detail::EncodeRowAs<kType>(src, cols, out); });
}

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_CODEC_HPP_
