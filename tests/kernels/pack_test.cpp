#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "inlay/formats/codec.hpp"
#include "inlay/formats/float16.hpp"
#include "inlay/kernels/pack.hpp"

namespace {

using inlay::WeightType;
using Counts = std::initializer_list<std::size_t>;

// Every bit random: all levels, scales and mins that a file can hold. Scales may be NaN or infinite, so compare bits.
std::vector<std::byte> RandomRows(std::size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> rows(bytes);
  for (std::byte& byte : rows) byte = static_cast<std::byte>(random() & 0xFF);
  return rows;
}

std::vector<std::byte> Pack(WeightType type, const std::byte* rows, std::size_t row_bytes, std::size_t count,
                            std::size_t cols) {
  // What was in the buffer must not matter.
  std::vector<std::byte> packed(inlay::PackedBytes(type, count, cols), std::byte{0xA5});
  for (std::size_t row = 0; row < count; row += inlay::kRowTile) {
    const std::size_t valid = std::min(inlay::kRowTile, count - row);
    inlay::PackTile(type, rows + row * row_bytes, row_bytes, valid, cols,
                    packed.data() + row / inlay::kRowTile * inlay::PackedTileBytes(type, cols));
  }
  return packed;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernels_pack)

BOOST_AUTO_TEST_CASE(unpacked_rows_are_decoded_rows_bit_for_bit) {
  for (const WeightType type : inlay::AllFormats::kList) {
    const std::size_t block = inlay::Info(type).block_values;
    const std::vector<std::size_t> widths =
        block == 1 ? std::vector<std::size_t>{1, 3, 64, 260} : std::vector<std::size_t>{block, 3 * block, 8 * block};
    for (const std::size_t cols : widths) {
      for (const std::size_t rows : Counts{1, 7, 8, 9, 16, 17, 33}) {
        const std::size_t row_bytes = inlay::RowBytes(type, cols);
        // One byte in front: rows in a file have no alignment. (2 for float rows, whose alignment GGUF guarantees, too.)
        const std::vector<std::byte> file = RandomRows(1 + rows * row_bytes, static_cast<unsigned>(rows + 100 * cols));
        const std::vector<std::byte> packed = Pack(type, file.data() + 1, row_bytes, rows, cols);
        std::vector<float> expected(cols), got(cols);
        for (std::size_t row = 0; row < rows; ++row) {
          inlay::DecodeRow(type, file.data() + 1 + row * row_bytes, cols, expected.data());
          inlay::UnpackRow(type, packed.data(), cols, row, got.data());
          BOOST_REQUIRE_MESSAGE(std::memcmp(expected.data(), got.data(), cols * sizeof(float)) == 0,
                                inlay::Name(type) << " row " << row << " of " << rows << " x " << cols);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(rows_may_lie_apart) {
  const std::size_t cols = 256, stride = inlay::RowBytes(WeightType::kQ6_K, cols) + 13;
  const std::vector<std::byte> file = RandomRows(5 * stride, 7);
  const std::vector<std::byte> packed = Pack(WeightType::kQ6_K, file.data(), stride, 5, cols);
  std::vector<float> expected(cols), got(cols);
  inlay::DecodeRow(WeightType::kQ6_K, file.data() + 4 * stride, cols, expected.data());
  inlay::UnpackRow(WeightType::kQ6_K, packed.data(), cols, 4, got.data());
  BOOST_TEST(std::memcmp(expected.data(), got.data(), cols * sizeof(float)) == 0);
}

BOOST_AUTO_TEST_CASE(padding_rows_are_zero) {
  for (const WeightType type : inlay::AllFormats::kList) {
    const std::size_t cols = 256, row_bytes = inlay::RowBytes(type, cols);
    const std::vector<std::byte> file = RandomRows(3 * row_bytes, 11);
    const std::vector<std::byte> packed = Pack(type, file.data(), row_bytes, 3, cols);
    std::vector<std::byte> zeros(row_bytes);
    std::vector<float> expected(cols), got(cols);
    inlay::DecodeRow(type, zeros.data(), cols, expected.data());
    for (std::size_t row = 3; row < inlay::kRowTile; ++row) {
      inlay::UnpackRow(type, packed.data(), cols, row, got.data());
      BOOST_REQUIRE(std::memcmp(expected.data(), got.data(), cols * sizeof(float)) == 0);
    }
  }
}

// But for TQ1_0, which becomes TQ2_0, and F16, which gets two bytes for every 64 columns, or an even number of them.
BOOST_AUTO_TEST_CASE(packing_changes_no_size) {
  for (const WeightType type : inlay::AllFormats::kList) {
    const std::size_t row_bytes = inlay::RowBytes(type == WeightType::kTQ1_0 ? WeightType::kTQ2_0 : type, 512) +
                                  (type == WeightType::kF16 ? 2 * 512 / 64 : 0);
    BOOST_TEST(inlay::PackedBytes(type, 32, 512) == 32 * row_bytes);
    BOOST_TEST(inlay::PackedBytes(type, 17, 512) == 32 * row_bytes);
    BOOST_TEST(inlay::PackedBytes(type, 0, 512) == 0u);
  }
  BOOST_TEST(inlay::PackedBytes(WeightType::kF16, 16, 65) == 16u * 2 * (65 + 2));
  BOOST_TEST(inlay::PackedBytes(WeightType::kF16, 16, 1) == 16u * 2 * (1 + 2));
}

// Before the columns of F16, for each 64 of them and each row: the least BF16 number that makes integers of them which, and
// whose Euclidean norm, are not too large. One for rows of zeros and for padding.
BOOST_AUTO_TEST_CASE(f16_tiles_begin_with_integer_scales) {
  constexpr std::size_t kCols = 150, kRows = 4;
  std::vector<std::uint16_t> rows(kRows * kCols);
  for (std::size_t k = 0; k < kCols; ++k) {
    rows[k] = inlay::F32ToF16(1.0f + static_cast<float>(k) / 16.0f);                  // the norm decides
    rows[kCols + k] = inlay::F32ToF16(k == 70 ? -1000.0f : 0.25f);                    // of the second 64, the one large value
    rows[2 * kCols + k] = static_cast<std::uint16_t>(k == 3 ? 0x8001 : k < 64 ? 0 : 0x7BFF);  // the smallest and the largest
  }
  std::vector<std::byte> packed(inlay::PackedBytes(WeightType::kF16, kRows, kCols), std::byte{0xA5});
  inlay::PackTile(WeightType::kF16, reinterpret_cast<const std::byte*>(rows.data()), 2 * kCols, kRows, kCols, packed.data());
  std::uint16_t scales[4][16];
  std::memcpy(scales, packed.data(), sizeof(scales));
  for (std::size_t block = 0; block < 3; ++block) {
    for (std::size_t row = 0; row < 3; ++row) {
      double most = 0, squares = 0;
      for (std::size_t k = block * 64; k < std::min(kCols, block * 64 + 64); ++k) {
        const double value = static_cast<double>(inlay::F16ToF32(rows[row * kCols + k]));
        most = std::max(most, std::fabs(value));
        squares += value * value;
      }
      const double least = std::max(most / 32760.0, std::sqrt(squares) / 46300.0);
      BOOST_TEST(static_cast<double>(inlay::BF16ToF32(scales[block][row])) >= least * (1 - 1e-7));
      BOOST_TEST(static_cast<double>(inlay::BF16ToF32(static_cast<std::uint16_t>(scales[block][row] - 1))) < least);
    }
    for (std::size_t row = 3; row < 16; ++row) BOOST_TEST(scales[block][row] == 0x3F80);
  }
  for (const std::uint16_t gap : scales[3]) BOOST_TEST(gap == 0);
}

// What is not finite must reach the products.
BOOST_AUTO_TEST_CASE(f16_scales_of_what_is_not_finite) {
  for (const int bad : {0x7C00, 0xFC00, 0x7E00, 0xFFFF}) {
    std::vector<std::uint16_t> row(64, 0x3C00);
    row[40] = static_cast<std::uint16_t>(bad);
    std::vector<std::byte> packed(inlay::PackedBytes(WeightType::kF16, 1, 64));
    inlay::PackTile(WeightType::kF16, reinterpret_cast<const std::byte*>(row.data()), 128, 1, 64, packed.data());
    std::uint16_t scale;
    std::memcpy(&scale, packed.data(), sizeof(scale));
    BOOST_TEST(scale == 0x7F80);
  }
}

// In pieces of 256 columns, as rows that do not follow each other in their file are.
BOOST_AUTO_TEST_CASE(parts_of_a_tile_give_the_bytes_of_the_whole) {
  constexpr std::size_t kCols = 768, kRows = 11;
  std::mt19937 random(6);
  for (const WeightType type : inlay::AllFormats::kList) {
    const std::size_t row_bytes = inlay::RowBytes(type, kCols);
    std::vector<std::byte> rows(kRows * row_bytes);
    for (std::byte& byte : rows) byte = static_cast<std::byte>(random() & 0xFF);
    std::vector<std::byte> whole(inlay::PackedBytes(type, kRows, kCols), std::byte{1}), parts(whole.size(), std::byte{2});
    inlay::PackTile(type, rows.data(), row_bytes, kRows, kCols, whole.data());
    for (std::size_t begin = 0; begin < kCols; begin += 256) {
      inlay::PackColumns(type, rows.data() + inlay::RowBytes(type, begin), row_bytes, kRows, begin, 256, kCols, parts.data());
    }
    BOOST_TEST((whole == parts), inlay::Name(type));
  }
}

BOOST_AUTO_TEST_SUITE_END()
