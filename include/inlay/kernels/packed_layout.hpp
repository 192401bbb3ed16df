// Where every byte of a packed weight matrix is: constexpr arithmetic only, no SIMD.
//
// Layout id "R16C4-3". A matrix of [rows, cols] is cut into tiles of 16 rows (kRowTile), the last one padded with zero
// rows; a tile holds all of its columns, tiles follow each other without gaps. A tile of a quantised type is a sequence of
// groups of 16 rows x 256 columns, the last one of what is left: first the headers of the group's blocks (what the 16 file
// blocks have besides their levels), then the levels, 32 columns at a time. With blocks of 32 columns, 8 headers so make
// whole cache lines, and levels start at one. Levels are in words of 4 bytes per row, 16 rows side by side (64 bytes): one
// vector load is as many rows as the vector has 32-bit lanes, and each lane multiplies with the same 4 activations.
//   headers  Q8_0, Q4_0, Q5_0, IQ4_NL, TQ2_0   f16 d[16]
//            Q4_1, Q5_1         f16 d[16], f16 m[16]
//            MXFP4              u8 e[16]
//            Q2_K               f16 d[16], f16 dmin[16], words[4][16]: the 16 bytes of scales and mins of each row, with the
//                               second and third byte of each word exchanged
//            Q3_K               f16 d[16], words[3][16]: the 12 bytes of 6-bit scales, with the same exchange
//            Q4_K, Q5_K         f16 d[16], f16 dmin[16], words[3][16]: the 12 bytes of 6-bit scales and mins of each row,
//                               with mins 1 and 2, and mins 5 and 6, exchanged (kernels want neighbours in even bytes)
//            Q6_K               f16 d[16], i8 scale[16 groups][16]
//            IQ4_XS             f16 d[16], u16 scales_h[16], words[16]: scales_l of each row
//   levels   Q8_0    word c (0..7): columns 4c .. 4c+3, signed
//            2 bits  word c (0, 1): bits 2i, 2i+1 of byte j are column 16c + 4i + j
//            3 bits  word c (0..2): bits 0 .. 2 of byte j are column 8c + j, bits 3 .. 5 column 8c + 4 + j. Columns 24 + j and
//                    28 + j: the lower two bits in bits 6, 7 of words 0 and 1, the third in bits 6 and 7 of word 2
//            4 bits  word c (0..3): columns 4c .. 4c+3 in the low nibbles, 16 + 4c .. in the high ones
//            5 bits  the same, and word 4: bit c of byte j is the fifth bit of column 4c + j
//            6 bits  the same, and words 4, 5: bits 2c, 2c+1 of byte j are the upper bits of column 4c + j, 16 + 4c + j
// Float types interleave the 16 rows of a tile column by column: 16 values are 16 rows x 1 column. Before the columns of a
// tile, F16 has for every 64 columns the scales that make their integers (bf16 scale[16], 1.0 for rows of zeros; room for an
// even number of them): see kInt16Norm.
// Packing changes no value: a packed matrix is as large as in its file, but for the padding rows, F16 (1.6 % larger), and
// TQ1_0, whose five ternary digits in a byte become levels of 2 bits, as TQ2_0 has them (2.06 instead of 1.69 bits per
// weight).
#ifndef INLAY_KERNELS_PACKED_LAYOUT_HPP_
#define INLAY_KERNELS_PACKED_LAYOUT_HPP_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "inlay/core/checked.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"

INLAY_BEGIN_NAMESPACE

inline constexpr std::string_view kPackedLayoutId = "R16C4-3";

// Rows that kernels process together and work is cut at.
inline constexpr std::size_t kRowTile = 16;
// Bytes of one word of every row of a tile.
inline constexpr std::size_t kWordBytes = 4 * kRowTile;
// Columns whose levels follow each other, behind the headers of their blocks.
inline constexpr std::size_t kColumnGroup = 256;

// The type whose packed form a type has: its own, but for TQ1_0.
constexpr WeightType PackedForm(WeightType type) { return type == WeightType::kTQ1_0 ? WeightType::kTQ2_0 : type; }

// Bits of a packed level; 0 for float types.
constexpr int LevelBits(WeightType type) {
  switch (type) {
    case WeightType::kQ8_0: return 8;
    case WeightType::kQ2_K:
    case WeightType::kTQ1_0:
    case WeightType::kTQ2_0: return 2;
    case WeightType::kQ3_K: return 3;
    case WeightType::kQ4_0:
    case WeightType::kQ4_1:
    case WeightType::kIQ4_NL:
    case WeightType::kMXFP4:
    case WeightType::kQ4_K:
    case WeightType::kIQ4_XS: return 4;
    case WeightType::kQ5_0:
    case WeightType::kQ5_1:
    case WeightType::kQ5_K: return 5;
    case WeightType::kQ6_K: return 6;
    default: return 0;
  }
}

// What is subtracted from a stored level: value = scale * (level - offset). Not for levels that are numbers of a table.
constexpr int LevelOffset(WeightType type) {
  switch (type) {
    case WeightType::kTQ1_0:
    case WeightType::kTQ2_0: return 1;
    case WeightType::kQ3_K: return 4;
    case WeightType::kQ4_0: return 8;
    case WeightType::kQ5_0: return 16;
    case WeightType::kQ6_K: return 32;
    default: return 0;
  }
}

// Bytes of the levels of 16 rows x 32 columns.
constexpr std::size_t PackedLevelBytes(WeightType type) {
  return kWordBytes * static_cast<std::size_t>(LevelBits(type));
}

// Blocks of the group that begins where a row has `left` columns left.
constexpr std::size_t GroupBlocks(WeightType type, std::size_t left) {
  return (left < kColumnGroup ? left : kColumnGroup) / Info(type).block_values;
}

// Bytes of one packed block of 16 rows x block_values columns, and of its header (quantised types).
constexpr std::size_t PackedBlockBytes(WeightType type) { return kRowTile * Info(PackedForm(type)).block_bytes; }
constexpr std::size_t PackedHeaderBytes(WeightType type) {
  return PackedBlockBytes(type) - Info(type).block_values / 32u * PackedLevelBytes(type);
}

// F16 weights as integers times a scale, for kernels that multiply int16. So many columns of a row share a scale, which is the
// smallest with which the largest magnitude is at most kInt16Most and the Euclidean norm at most kInt16Norm (+ 4 by rounding),
// rounded up to BF16. Activations are scaled the same way: the sum of 64 products then fits 32 bits, by Cauchy and Schwarz,
// 46304 * 46304 < 2^31.
inline constexpr std::size_t kInt16Block = 64;
inline constexpr float kInt16Most = 32760.0f;
inline constexpr float kInt16Norm = 46300.0f;

// Where the columns of a tile of a float type begin.
constexpr std::size_t PackedColumnsAt(WeightType type, std::size_t cols) {
  return type == WeightType::kF16 ? RoundUp(DivideUp(cols, kInt16Block), 2) * kRowTile * 2 : 0;
}

// Bytes of one packed tile of kRowTile rows x cols; cols is a multiple of the type's block_values.
constexpr std::size_t PackedTileBytes(WeightType type, std::size_t cols) {
  return PackedColumnsAt(type, cols) + kRowTile * RowBytes(PackedForm(type), cols);
}

// Bytes of a packed matrix. Matrices start at multiples of 64 in a buffer.
constexpr std::size_t PackedBytes(WeightType type, std::size_t rows, std::size_t cols) {
  return DivideUp(rows, kRowTile) * PackedTileBytes(type, cols);
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_PACKED_LAYOUT_HPP_
