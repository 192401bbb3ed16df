// The quantised blocks as they lie in a file, one struct per type. What the bits mean is defined in codec.hpp.
// Source: the GGUF specification and ggml's type definitions.
#ifndef INLAY_FORMATS_BLOCKS_HPP_
#define INLAY_FORMATS_BLOCKS_HPP_

#include <bit>
#include <cstddef>
#include <cstdint>

#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"

INLAY_BEGIN_NAMESPACE

// Files are little-endian and their numbers are used in place.
static_assert(std::endian::native == std::endian::little, "inlay reads weights in place: little-endian targets only");

// The levels of IQ4_NL and IQ4_XS, denser around zero as trained weights are.
inline constexpr std::int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
// The levels of MXFP4: twice the numbers of its 4-bit float (2 bits of exponent, 1 of mantissa, the sign on top).
inline constexpr std::int8_t kMxfp4Levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
// The largest exponent with which every level is a finite float.
inline constexpr std::uint8_t kMostMxfp4Exponent = 252;
// The scale of an MXFP4 block, 2^(e - 128): half of what its exponent says, because the levels are twice theirs.
constexpr float Mxfp4Scale(std::uint8_t e) {
  return std::bit_cast<float>(e < 2 ? std::uint32_t{0x00200000} << e : (std::uint32_t{e} - 1) << 23);
}

// Scales (d, m, dmin) are binary16 bit patterns. A block in a file need not be aligned: copy it out with memcpy.

// 32 values in -127 .. 127, value = d * q.
struct BlockQ8_0 {
  std::uint16_t d;
  std::int8_t qs[32];
};

// 32 values of 4 bits, value = d * (q - 8). Byte j: value j in the low nibble, value j + 16 in the high one.
struct BlockQ4_0 {
  std::uint16_t d;
  std::uint8_t qs[16];
};

// As Q4_0 with an offset: value = d * q + m.
struct BlockQ4_1 {
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qs[16];
};

// 32 values of 5 bits, value = d * (q - 16). Nibbles as Q4_0; bit j of the little-endian qh is the fifth of value j.
struct BlockQ5_0 {
  std::uint16_t d;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};

// As Q5_0 with an offset: value = d * q + m.
struct BlockQ5_1 {
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};

// 32 values, value = d * kIq4Levels[q]. Nibbles as Q4_0.
struct BlockIQ4_NL {
  std::uint16_t d;
  std::uint8_t qs[16];
};

// 32 values of the OCP microscaling format MXFP4, value = 2^(e - 128) * kMxfp4Levels[q]. Nibbles as Q4_0.
struct BlockMXFP4 {
  std::uint8_t e;
  std::uint8_t qs[16];
};

// 256 values in 16 groups of 16, value = d * scale * q - dmin * min, q of 2 bits; scale in the low, min in the high nibble
// of the group's byte. In each half of 128 values, byte j of qs holds values j + 0, 32, 64, 96, from the low bits up.
struct BlockQ2_K {
  std::uint8_t scales[16];
  std::uint8_t qs[64];
  std::uint16_t d;
  std::uint16_t dmin;
};

// 256 values in 16 groups of 16, value = d * (scale - 32) * (q - 4), q of 3 bits: the low two as in Q2_K, the third of
// value i in bit i / 32 of hmask[i % 32]. Scales of 6 bits, packed as Codec<kQ3_K>::ScaleOf reads them.
struct BlockQ3_K {
  std::uint8_t hmask[32];
  std::uint8_t qs[64];
  std::uint8_t scales[12];
  std::uint16_t d;
};

// 256 values in 8 groups of 32, value = d * scale * q - dmin * min, q of 4 bits; scale and min of 6 bits per group,
// packed as codec.hpp's GroupScales. qs: 64 values per 32 bytes, group 2i in the low nibbles, 2i + 1 in the high ones.
struct BlockQ4_K {
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[12];
  std::uint8_t qs[128];
};

// As Q4_K with q of 5 bits: bit g of qh[j] is the fifth bit of value j of group g.
struct BlockQ5_K {
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[12];
  std::uint8_t qh[32];
  std::uint8_t qs[128];
};

// 256 values in 16 groups of 16, value = d * scale * (q - 32), q of 6 bits. In each half of 128 values, ql holds the
// low nibbles (bytes 0..63: values 0..63 low, 64..127 high) and qh the upper two bits (byte j: j + 0, 32, 64, 96).
struct BlockQ6_K {
  std::uint8_t ql[128];
  std::uint8_t qh[64];
  std::int8_t scales[16];
  std::uint16_t d;
};

// 256 values in 8 groups of 32, value = d * (scale - 32) * kIq4Levels[q]. The scale of group g has its low nibble in nibble g
// of scales_l, its upper two bits in bits 2g, 2g + 1 of scales_h. qs: per group 16 bytes as Q4_0.
struct BlockIQ4_XS {
  std::uint16_t d;
  std::uint16_t scales_h;
  std::uint8_t scales_l[4];
  std::uint8_t qs[128];
};

// 256 values of -1, 0, 1 times d. Five values in a byte of qs, four in a byte of qh: see Codec<kTQ1_0>.
struct BlockTQ1_0 {
  std::uint8_t qs[48];
  std::uint8_t qh[4];
  std::uint16_t d;
};

// 256 values, value = d * (q - 1), q of 2 bits in the order of Q2_K.
struct BlockTQ2_0 {
  std::uint8_t qs[64];
  std::uint16_t d;
};

static_assert(sizeof(BlockQ8_0) == Info(WeightType::kQ8_0).block_bytes);
static_assert(sizeof(BlockQ4_0) == Info(WeightType::kQ4_0).block_bytes);
static_assert(sizeof(BlockQ4_1) == Info(WeightType::kQ4_1).block_bytes);
static_assert(sizeof(BlockQ5_0) == Info(WeightType::kQ5_0).block_bytes);
static_assert(sizeof(BlockQ5_1) == Info(WeightType::kQ5_1).block_bytes);
static_assert(sizeof(BlockIQ4_NL) == Info(WeightType::kIQ4_NL).block_bytes);
static_assert(sizeof(BlockMXFP4) == Info(WeightType::kMXFP4).block_bytes);
static_assert(sizeof(BlockQ2_K) == Info(WeightType::kQ2_K).block_bytes);
static_assert(sizeof(BlockQ3_K) == Info(WeightType::kQ3_K).block_bytes);
static_assert(sizeof(BlockQ4_K) == Info(WeightType::kQ4_K).block_bytes);
static_assert(sizeof(BlockQ5_K) == Info(WeightType::kQ5_K).block_bytes);
static_assert(sizeof(BlockQ6_K) == Info(WeightType::kQ6_K).block_bytes);
static_assert(sizeof(BlockIQ4_XS) == Info(WeightType::kIQ4_XS).block_bytes);
static_assert(sizeof(BlockTQ1_0) == Info(WeightType::kTQ1_0).block_bytes);
static_assert(sizeof(BlockTQ2_0) == Info(WeightType::kTQ2_0).block_bytes);

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_BLOCKS_HPP_
