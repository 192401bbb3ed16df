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

// Nearest integer, ties to even, for |value| < 2^22. Adding 1.5 * 2^23 leaves the integer in the low mantissa bits;
// reading them as bits keeps it right under -ffast-math, where adding and subtracting would cancel.
inline int NearestInt(float value) {
  return static_cast<int>(std::bit_cast<std::uint32_t>(value + 12582912.0f) & 0x7FFFFFu) - 0x400000;
}

// NaN gives low.
inline float Clamp(float value, float low, float high) { return value > low ? (value < high ? value : high) : low; }

// The level of `value` among low .. high.
inline int Level(float value, int low, int high) {
  return NearestInt(Clamp(value, static_cast<float>(low), static_cast<float>(high)));
}

// With a scale of zero every value gets the level of zero.
inline float Inverse(float scale) { return scale == 0.0f ? 0.0f : 1.0f / scale; }

// The value of largest magnitude, with its sign; the first of equals.
inline float Extreme(const float* x, int count) {
  float extreme = 0.0f;
  for (int i = 0; i < count; ++i) {
    if ((x[i] < 0 ? -x[i] : x[i]) > (extreme < 0 ? -extreme : extreme)) extreme = x[i];
  }
  return extreme;
}

// The scale s that makes s * q, q in -reach .. reach - 1, closest to x in the least-squares sense: for a grid of trial
// scales around the one that maps the extreme value to -reach, levels are rounded and the best scale for these levels
// is solved for. The sign of s lets the extreme value use the longer side. Sums are in double: no input overflows.
inline float FitScale(const float* x, int count, int reach) {
  const float extreme = Extreme(x, count);
  if (extreme == 0.0f) return 0.0f;
  float best_scale = 0.0f;
  double best_gain = 0.0;
  for (int step = -9; step <= 9; ++step) {
    const float inverse = -(static_cast<float>(reach) + 0.1f * static_cast<float>(step)) / extreme;
    double sum_qx = 0.0;
    int sum_qq = 0;
    for (int i = 0; i < count; ++i) {
      const int q = Level(inverse * x[i], -reach, reach - 1);
      sum_qx += static_cast<double>(q) * static_cast<double>(x[i]);
      sum_qq += q * q;
    }
    // The squared error is sum x^2 - gain.
    const double gain = sum_qq == 0 ? 0.0 : sum_qx * sum_qx / sum_qq;
    if (gain > best_gain) {
      best_gain = gain;
      best_scale = static_cast<float>(sum_qx / sum_qq);
    }
  }
  return best_scale;
}

struct Affine {
  float scale;  // >= 0
  float base;   // value of level 0
};

// The affine map level -> scale * level + base, levels 0 .. top, closest to x in the least-squares sense; grid of trial
// scales as FitScale. With base_at_most_zero (K-quants store -base as an unsigned number) the base is held at 0 where
// it would be positive.
inline Affine FitAffine(const float* x, int count, int top, bool base_at_most_zero) {
  float low = x[0], high = x[0];
  for (int i = 1; i < count; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  if (base_at_most_zero && low > 0.0f) low = 0.0f;
  // In double: high - low may overflow a float.
  const double range = static_cast<double>(high) - static_cast<double>(low);
  double sum_x = 0.0, sum_xx = 0.0;
  for (int i = 0; i < count; ++i) {
    sum_x += static_cast<double>(x[i]);
    sum_xx += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  Affine best{static_cast<float>(range / top), low};
  if (best.scale == 0.0f) return best;
  double best_error = -1.0;
  for (int step = -10; step <= 10; ++step) {
    const float inverse = static_cast<float>((top + 0.1 * step) / range);
    int sum_q = 0, sum_qq = 0;
    double sum_qx = 0.0;
    for (int i = 0; i < count; ++i) {
      const int q = Level(inverse * (x[i] - low), 0, top);
      sum_q += q;
      sum_qq += q * q;
      sum_qx += static_cast<double>(q) * static_cast<double>(x[i]);
    }
    const double determinant = static_cast<double>(count) * sum_qq - static_cast<double>(sum_q) * sum_q;
    if (determinant <= 0.0) continue;
    double scale = (count * sum_qx - sum_q * sum_x) / determinant;
    double base = (sum_qq * sum_x - sum_q * sum_qx) / determinant;
    if (base_at_most_zero && base > 0.0) {
      base = 0.0;
      scale = sum_qx / sum_qq;
    }
    const double error = sum_xx + scale * scale * sum_qq + count * base * base +
                         2.0 * (scale * base * sum_q - scale * sum_qx - base * sum_x);
    if (scale > 0.0 && (best_error < 0.0 || error < best_error)) {
      best_error = error < 0.0 ? 0.0 : error;
      best = {static_cast<float>(scale), static_cast<float>(base)};
    }
  }
  return best;
}

// Squared error of x against scale * level + base with the nearest levels low .. high.
inline double ErrorOf(const float* x, int count, float scale, float base, int low, int high) {
  const float inverse = Inverse(scale);
  double error = 0.0;
  for (int i = 0; i < count; ++i) {
    const int q = Level(inverse * (x[i] - base), low, high);
    const double difference = static_cast<double>(scale * static_cast<float>(q) + base) - static_cast<double>(x[i]);
    error += difference * difference;
  }
  return error;
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

// Levels of 32 values for x = scale * level + base, with the scale and base as they are stored.
inline void AffineLevels(const float* x, int count, float scale, float base, int top, std::uint8_t* levels) {
  const float inverse = Inverse(scale);
  for (int i = 0; i < count; ++i) levels[i] = static_cast<std::uint8_t>(Level(inverse * (x[i] - base), 0, top));
}
// The same for x = scale * (level - reach).
inline void SymmetricLevels(const float* x, int count, float scale, int reach, std::uint8_t* levels) {
  const float inverse = Inverse(scale);
  for (int i = 0; i < count; ++i) {
    levels[i] = static_cast<std::uint8_t>(Level(inverse * x[i], -reach, reach - 1) + reach);
  }
}

// Scales, mins and levels of a Q4_K (top 15) or Q5_K (top 31) block.
struct GroupedLevels {
  std::uint16_t d;
  std::uint16_t dmin;
  GroupScales groups;
  std::uint8_t levels[256];
};

inline void EncodeGroups(const float* x, int top, GroupedLevels& out) {
  Affine fits[8];
  float most_scale = 0.0f, most_min = 0.0f;
  for (int g = 0; g < 8; ++g) {
    fits[g] = FitAffine(x + 32 * g, 32, top, true);
    most_scale = fits[g].scale > most_scale ? fits[g].scale : most_scale;
    most_min = -fits[g].base > most_min ? -fits[g].base : most_min;
  }
  out.d = F32ToF16Saturated(most_scale / 63.0f);
  out.dmin = F32ToF16Saturated(most_min / 63.0f);
  const float d = F16ToF32(out.d), dmin = F16ToF32(out.dmin);
  const float inverse_d = Inverse(d), inverse_dmin = Inverse(dmin);
  for (int g = 0; g < 8; ++g) {
    const float* group = x + 32 * g;
    const int scale = Level(inverse_d * fits[g].scale, 0, 63);
    const int min = Level(inverse_dmin * -fits[g].base, 0, 63);
    // Rounding scale and min each on its own is not the best pair: the neighbours are tried too.
    int best_scale = scale, best_min = min;
    double best_error = ErrorOf(group, 32, d * static_cast<float>(scale), -dmin * static_cast<float>(min), 0, top);
    for (int s = scale > 0 ? scale - 1 : 0; s <= scale + 1 && s <= 63; ++s) {
      for (int m = min > 0 ? min - 1 : 0; m <= min + 1 && m <= 63; ++m) {
        const double error = ErrorOf(group, 32, d * static_cast<float>(s), -dmin * static_cast<float>(m), 0, top);
        if (error < best_error) {
          best_error = error;
          best_scale = s;
          best_min = m;
        }
      }
    }
    out.groups.scale[g] = static_cast<std::uint8_t>(best_scale);
    out.groups.min[g] = static_cast<std::uint8_t>(best_min);
    AffineLevels(group, 32, d * static_cast<float>(best_scale), -dmin * static_cast<float>(best_min), top,
                 out.levels + 32 * g);
  }
}

}  // namespace detail

// One weight type: kValues values per Block; Decode writes kValues floats, Encode reads kValues finite floats.
//
// Decoding is exact to the bit on every machine: a binary16 scale (11 bits) times a 6-bit sub-scale times a 5-bit level
// fits a float's 24 bits, so each formula rounds at most once, whether or not the compiler fuses the multiply-add.
// Encoding minimises the plain squared error by a scale search. It is deterministic for one build; fused multiply-adds
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
    detail::SymmetricLevels(x, 32, F16ToF32(block.d), 8, levels);
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
    detail::SymmetricLevels(x, 32, F16ToF32(block.d), 16, levels);
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
    detail::GroupedLevels grouped;
    detail::EncodeGroups(x, 15, grouped);
    block.d = grouped.d;
    block.dmin = grouped.dmin;
    PackGroupScales(grouped.groups, block.scales);
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
    detail::GroupedLevels grouped;
    detail::EncodeGroups(x, 31, grouped);
    block.d = grouped.d;
    block.dmin = grouped.dmin;
    PackGroupScales(grouped.groups, block.scales);
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
    float fits[16];
    for (int g = 0; g < 16; ++g) fits[g] = detail::FitScale(x + 16 * g, 16, 32);
    // As the levels, the scales have one value more on the negative side: the extreme one maps to -128.
    block.d = F32ToF16Saturated(detail::Extreme(fits, 16) / -128.0f);
    const float d = F16ToF32(block.d);
    const float inverse = detail::Inverse(d);
    std::uint8_t levels[256];
    for (int g = 0; g < 16; ++g) {
      const float* group = x + 16 * g;
      const int nearest = detail::Level(inverse * fits[g], -128, 127);
      int best = nearest;
      double best_error = detail::ErrorOf(group, 16, d * static_cast<float>(nearest), 0.0f, -32, 31);
      for (int s = nearest > -128 ? nearest - 1 : -128; s <= nearest + 1 && s <= 127; ++s) {
        const double error = detail::ErrorOf(group, 16, d * static_cast<float>(s), 0.0f, -32, 31);
        if (error < best_error) {
          best_error = error;
          best = s;
        }
      }
      block.scales[g] = static_cast<std::int8_t>(best);
      detail::SymmetricLevels(group, 16, d * static_cast<float>(best), 32, levels + 16 * g);
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
// overlap. The same input gives the same bytes. Cost: 1 to 5 ns per value up to Q8_0, 40 to 70 with a scale search.
inline void EncodeRow(WeightType type, const float* src, std::size_t cols, std::byte* out) {
  detail::ForType(type, AllFormats{}, [&]<WeightType kType>() { detail::EncodeRowAs<kType>(src, cols, out); });
}

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_CODEC_HPP_
