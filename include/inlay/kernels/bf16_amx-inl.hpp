// Matrix products with BF16 weights on tiles of BF16 (amx_tiles-inl.hpp): 16 tokens x 16 rows x 32 columns per instruction.
//
// Apart from the products of pairs in vectors because of the order in which a tile adds: over steps of 32 columns, products of
// even columns one after the other, those of odd ones beside them, then both sums and the step before. Sums stay in their
// tile for 256 columns, or for a whole row where tokens are few. What a few tokens need less is in pair_matmul-inl.hpp, in
// the same order; only numbers below the normal ones are different, which tiles take for zero.

#include "inlay/kernels/highway.hpp"

#if defined(INLAY_KERNELS_BF16_AMX_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_BF16_AMX_INL_HPP_
#undef INLAY_KERNELS_BF16_AMX_INL_HPP_
#else
#define INLAY_KERNELS_BF16_AMX_INL_HPP_
#endif

#include "inlay/kernels/amx_tiles-inl.hpp"

#if INLAY_AMX_BF16

#include <immintrin.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "inlay/core/checked.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/output.hpp"
#include "inlay/kernels/packed_layout.hpp"
#include "inlay/kernels/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace detail {

// 256 columns of 16 rows. Word i: columns 2i and 2i + 1 of each row.
struct alignas(64) BF16Panel {
  std::uint8_t words[kColumnGroup / 2 * kWordBytes];
};

// `columns` columns, and zeros up to a multiple of 32.
HWY_NOINLINE inline void UnpackBF16(const std::uint8_t* HWY_RESTRICT packed, std::size_t columns, BF16Panel& panel) {
  constexpr std::size_t kColumnBytes = 2 * kRowTile;
  std::uint8_t* to = panel.words;
  const std::uint8_t* const last = packed + columns / 2 * 2 * kColumnBytes;
  for (; packed != last; packed += 2 * kColumnBytes, to += kWordBytes) {
    FetchAhead<kWeightsAhead, 2 * kColumnBytes>(packed);
    StoreWords(InterleaveColumnPair(LoadColumnPair<false>(reinterpret_cast<const std::uint16_t*>(packed))), to);
  }
  if (columns % 2 != 0) {
    StoreWords(InterleaveColumnPair(LoadColumnPair<true>(reinterpret_cast<const std::uint16_t*>(packed))), to);
    to += kWordBytes;
  }
  std::uint8_t* const end = panel.words + RoundUp(columns, 32) / 2 * kWordBytes;
  for (; to != end; to += kWordBytes) StoreWords(hn::Zero(WordTag()), to);
}

// Rows of two row tiles, `next` bytes apart, times the tokens of `tiles`, of which `values` has the first (see ForAmxBlocks).
template <class Store>
HWY_NOINLINE void MultiplyBF16Amx(const std::uint8_t* HWY_RESTRICT packed, std::size_t next, std::size_t cols,
                                  const std::uint16_t* values, std::size_t stride, const AmxTokenTiles& tiles,
                                  float* HWY_RESTRICT results, const Store& store) {
  constexpr std::size_t kColumnBytes = 2 * kRowTile;
  constexpr std::size_t kStride = kAmxRows * sizeof(float);
  BF16Panel panels[kAmxRowTiles];
  const std::size_t count = tiles.count();
  const bool stay = count <= 2;  // in their tiles
  for (std::size_t col = 0; col < cols; col += kColumnGroup) {
    const std::size_t columns = std::min(kColumnGroup, cols - col);
    const bool last = col + columns == cols;
    for (std::size_t tile = 0; tile < kAmxRowTiles; ++tile) {
      UnpackBF16(packed + tile * next + col * kColumnBytes, columns, panels[tile]);
    }
    // The compiler does not know that tile loads read memory.
    asm volatile("" : : "r"(panels) : "memory");
    // Weights of the next group come from memory meanwhile.
    const std::uint8_t* ahead = packed + (col + columns) * kColumnBytes;
    const std::size_t lines = stay ? 0 : DivideUp(columns * kColumnBytes, 64 * DivideUp(count, 2));
    for (std::size_t tile = 0; tile < count; tile += 2) {
      for (std::size_t i = 0; i < lines; ++i, ahead += 64) {
        __builtin_prefetch(ahead);
        __builtin_prefetch(ahead + next);
      }
      const bool two = tile + 1 < count;
      const std::uint16_t* first = values + tiles.begin(tile) * stride + col;
      const std::uint16_t* second = values + tiles.begin(two ? tile + 1 : tile) * stride + col;
      float* const sums = results + tile * kAmxTokens * kAmxRows;
      float* const next_sums = sums + kAmxTokens * kAmxRows;
      if (col == 0) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
      } else if (!stay) {
        _tile_loadd(0, sums, kStride);
        _tile_loadd(1, sums + kRowTile, kStride);
        if (two) {
          _tile_loadd(2, next_sums, kStride);
          _tile_loadd(3, next_sums + kRowTile, kStride);
        }
      }
      for (std::size_t at = 0; at < columns; at += 32) {
        _tile_loadd(4, first + at, stride * sizeof(std::uint16_t));
        _tile_loadd(6, panels[0].words + at / 2 * kWordBytes, kWordBytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, panels[1].words + at / 2 * kWordBytes, kWordBytes);
        _tile_dpbf16ps(1, 4, 7);
        if (two) {
          _tile_loadd(5, second + at, stride * sizeof(std::uint16_t));
          _tile_dpbf16ps(2, 5, 6);
          _tile_dpbf16ps(3, 5, 7);
        }
      }
      if (stay && !last) continue;
      _tile_stored(0, sums, kStride);
      _tile_stored(1, sums + kRowTile, kStride);
      if (two) {
        _tile_stored(2, next_sums, kStride);
        _tile_stored(3, next_sums + kRowTile, kStride);
      }
      asm volatile("" : : "r"(results) : "memory");  // nor that tile stores write
      if (!last) continue;
      store(tile);
      if (two) store(tile + 1);
    }
  }
}

}  // namespace detail

// Products for some tokens. values: [tokens, stride]; rows of them end with zeros, up to a multiple of 32. Needs 50 KiB of
// stack.
HWY_NOINLINE inline void MultiplyBF16WithAmx(const std::byte* packed, std::size_t rows, std::size_t cols,
                                             const std::uint16_t* values, std::size_t stride, std::size_t token_begin,
                                             std::size_t token_end, std::size_t row_begin, std::size_t row_end,
                                             const Output& out) {
  ForAmxBlocks<64>(reinterpret_cast<const std::uint8_t*>(packed), rows, PackedTileBytes(WeightType::kBF16, cols), cols,
                   token_begin, token_end, row_begin, row_end, out,
                   [&](const AmxTokenTiles& tiles, const std::uint8_t* at, std::size_t next, float* results,
                       const auto& store) HWY_ATTR {
                     detail::MultiplyBF16Amx(at, next, cols, values, stride, tiles, results, store);
                   });
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_AMX_BF16

#endif  // toggle guard
