#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "inlay/formats/codec.hpp"
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

// Before the columns of F16, for each 64 of them and each row. As bits: 2^-24 is 1, which rows of zeros and padding have too.
BOOST_AUTO_TEST_CASE(f16_tiles_begin_with_the_largest_magnitudes) {
  constexpr std::size_t kCols = 150, kRows = 3;
  std::vector<std::uint16_t> rows(kRows * kCols);
  for (std::size_t k = 0; k < kCols; ++k) {
    rows[k] = static_cast<std::uint16_t>(0x3000 + k);
    rows[kCols + k] = static_cast<std::uint16_t>(0xB000 + (kCols - k));
  }
  std::vector<std::byte> packed(inlay::PackedBytes(WeightType::kF16, kRows, kCols), std::byte{0xA5});
  inlay::PackTile(WeightType::kF16, reinterpret_cast<const std::byte*>(rows.data()), 2 * kCols, kRows, kCols, packed.data());
  std::uint16_t most[4][16];
  std::memcpy(most, packed.data(), sizeof(most));
  const std::uint16_t first[] = {0x303F, 0x307F, 0x3095}, second[] = {0x3096, 0x3056, 0x3016};
  for (std::size_t block = 0; block < 3; ++block) {
    BOOST_TEST(most[block][0] == first[block]);
    BOOST_TEST(most[block][1] == second[block]);
    for (std::size_t row = 2; row < 16; ++row) BOOST_TEST(most[block][row] == 1);
  }
  for (const std::uint16_t gap : most[3]) BOOST_TEST(gap == 0);
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
