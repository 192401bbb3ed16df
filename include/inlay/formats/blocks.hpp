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

static_assert(sizeof(BlockQ8_0) == Info(WeightType::kQ8_0).block_bytes);
static_assert(sizeof(BlockQ4_0) == Info(WeightType::kQ4_0).block_bytes);
static_assert(sizeof(BlockQ4_1) == Info(WeightType::kQ4_1).block_bytes);
static_assert(sizeof(BlockQ5_0) == Info(WeightType::kQ5_0).block_bytes);
static_assert(sizeof(BlockQ5_1) == Info(WeightType::kQ5_1).block_bytes);
static_assert(sizeof(BlockQ4_K) == Info(WeightType::kQ4_K).block_bytes);
static_assert(sizeof(BlockQ5_K) == Info(WeightType::kQ5_K).block_bytes);
static_assert(sizeof(BlockQ6_K) == Info(WeightType::kQ6_K).block_bytes);

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_BLOCKS_HPP_
