// Matrix products with F32, F16 and BF16 weights: tiles of 16 rows, column by column (see packed_layout.hpp), times
// float32 activations. Some processors multiply F16 and BF16 weights otherwise: pair_matmul-inl.hpp.
//
// Apart from the quantised products because nothing is shared but the signature: here a product is an outer product of 16
// rows and a few tokens. The order in which an output is summed depends on the number of columns alone (ChainColumns), not
// on how many tokens and tiles are computed together, so any split of tokens and rows gives the same bits.

#include <algorithm>
#include <cstddef>

#include "inlay/core/extents.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/activations.hpp"
#include "inlay/kernels/output.hpp"
#include "inlay/kernels/packed_layout.hpp"

#if defined(INLAY_KERNELS_FLOAT_MATMUL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_FLOAT_MATMUL_INL_HPP_
#undef INLAY_KERNELS_FLOAT_MATMUL_INL_HPP_
#else
#define INLAY_KERNELS_FLOAT_MATMUL_INL_HPP_
#endif

#include "inlay/kernels/float_lanes-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace detail {

// The columns of one chain of multiply-adds. An output is the sum of its chains in order: two chains for narrow matrices,
// so that one token has enough independent work (64 x 64 on AVX-512: 73 -> 65 ns), and chains of 128 for wide ones, so that a batch
// finds the weights of a chain in a near cache.
constexpr std::size_t ChainColumns(std::size_t cols) { return cols >= 256 ? 128 : cols >= 16 ? DivideUp(cols, 2) : cols; }

// Tokens of one register tile, and tiles of 16 rows computed together with that many tokens: as many accumulators as
// there are registers for (16 with AVX2, 32 elsewhere), less those that hold weights and the broadcast activation.
// Measured on AVX-512: 2 x 12 and 4 x 6 reach 26 of 32 MAC/cycle, 1 x 12 reaches 21; AVX2: 1 x 6 reaches 14.5 of 16.
#if HWY_TARGET != HWY_SCALAR && HWY_MAX_BYTES == 64 && !HWY_HAVE_SCALABLE
inline constexpr std::size_t kMaxTileTokens = 12;
constexpr std::size_t TilesForTokens(std::size_t tokens) { return tokens <= 3 ? 8 : tokens <= 6 ? 4 : 2; }
#else
inline constexpr std::size_t kMaxTileTokens = 6;
constexpr std::size_t TilesForTokens(std::size_t tokens) { return tokens <= 1 ? 4 : tokens <= 3 ? 2 : 1; }
#endif
// One token: tiles computed together, and whether two chains of that many tiles run at once because one would wait for
// itself (a multiply-add takes four cycles, loading a tile half or one).
inline constexpr std::size_t kVectorTiles = TilesForTokens(1);
constexpr bool TwoChains(std::size_t tiles) { return tiles * 8 <= kVectorTiles * 5; }

// Adds the products of columns [begin, end) to sums. `tiles` is the first tile's column 0, `x` the first token's.
template <WeightType kType, std::size_t kTiles, std::size_t kTokens>
HWY_INLINE void MultiplyChain(const std::byte* tiles, std::size_t tile_columns, std::size_t begin, std::size_t end,
                              const float* x, std::size_t x_stride, Lanes16 (&sum)[kTiles][kTokens]) {
  for (std::size_t col = begin; col < end; ++col) {
    Lanes16 weights[kTiles];
    HWY_UNROLL(16)
    for (std::size_t tile = 0; tile < kTiles; ++tile) {
      weights[tile] = LoadFloats16<kType>(tiles, (tile * tile_columns + col) * 16);
    }
    HWY_UNROLL(16)
    for (std::size_t token = 0; token < kTokens; ++token) {
      const Lanes16 value = Set16(x[token * x_stride + col]);
      HWY_UNROLL(16)
      for (std::size_t tile = 0; tile < kTiles; ++tile) {
        sum[tile][token] = MulAdd16(weights[tile], value, sum[tile][token]);
      }
    }
  }
}

template <std::size_t kTiles, std::size_t kTokens>
HWY_INLINE void SetZero(Lanes16 (&sum)[kTiles][kTokens]) {
  HWY_UNROLL(16)
  for (std::size_t tile = 0; tile < kTiles; ++tile) {
    HWY_UNROLL(16)
    for (std::size_t token = 0; token < kTokens; ++token) sum[tile][token] = Set16(0.0f);
  }
}

// What lies before the columns of a tile (the scales of F16), counted in columns.
template <WeightType kType>
constexpr std::size_t ColumnsBefore(std::size_t cols) {
  return PackedColumnsAt(kType, cols) / (kRowTile * Info(kType).block_bytes);
}

// kTiles tiles times one token, all columns. `tiles` is the first one's column 0; `rows` counts the rows from the first tile
// to the end of the matrix.
template <WeightType kType, std::size_t kTiles, Extent Cols>
HWY_INLINE void MultiplyVector(const std::byte* tiles, Cols cols, const float* x, std::size_t rows, float* to,
                               bool accumulate) {
  const std::size_t columns = cols;
  const std::size_t tile_columns = columns + ColumnsBefore<kType>(columns);
  const std::size_t chain = ChainColumns(columns);
  Lanes16 total[kTiles][1];
  SetZero(total);
  std::size_t begin = 0;
  if constexpr (TwoChains(kTiles)) {
    for (; begin + chain < columns; begin += 2 * chain) {
      Lanes16 first[kTiles][1], second[kTiles][1];
      SetZero(first);
      SetZero(second);
      const std::size_t both = std::min(chain, columns - begin - chain);
      for (std::size_t col = begin; col < begin + both; ++col) {
        const Lanes16 value = Set16(x[col]), other = Set16(x[col + chain]);
        HWY_UNROLL(16)
        for (std::size_t tile = 0; tile < kTiles; ++tile) {
          const std::size_t at = (tile * tile_columns + col) * 16;
          first[tile][0] = MulAdd16(LoadFloats16<kType>(tiles, at), value, first[tile][0]);
          second[tile][0] = MulAdd16(LoadFloats16<kType>(tiles, at + chain * 16), other, second[tile][0]);
        }
      }
      MultiplyChain<kType>(tiles, tile_columns, begin + both, begin + chain, x, 0, first);
      HWY_UNROLL(16)
      for (std::size_t tile = 0; tile < kTiles; ++tile) {
        total[tile][0] = Add16(Add16(total[tile][0], first[tile][0]), second[tile][0]);
      }
    }
  }
  for (; begin < columns; begin += chain) {
    Lanes16 sum[kTiles][1];
    SetZero(sum);
    MultiplyChain<kType>(tiles, tile_columns, begin, std::min(begin + chain, columns), x, 0, sum);
    HWY_UNROLL(16)
    for (std::size_t tile = 0; tile < kTiles; ++tile) total[tile][0] = Add16(total[tile][0], sum[tile][0]);
  }
  HWY_UNROLL(16)
  for (std::size_t tile = 0; tile < kTiles; ++tile) {
    StoreRows16(total[tile][0], to + tile * 16, rows - tile * 16, accumulate);
  }
}

// MultiplyVector for a number of tiles that is known only now: 1 .. kTiles.
template <WeightType kType, std::size_t kTiles, Extent Cols>
HWY_INLINE void MultiplyVectorUpTo(std::size_t count, const std::byte* tiles, Cols cols, const float* x,
                                   std::size_t rows, float* to, bool accumulate) {
  if (count == kTiles) {
    MultiplyVector<kType, kTiles>(tiles, cols, x, rows, to, accumulate);
  } else if constexpr (kTiles > 1) {
    MultiplyVectorUpTo<kType, kTiles - 1>(count, tiles, cols, x, rows, to, accumulate);
  }
}

// Rows [begin, end) times one token. Groups of tiles differ by at most one: 11 = 6 + 5 tiles wait less for themselves than
// 8 + 3.
template <WeightType kType, Extent Cols>
HWY_INLINE void MultiplyVectorRows(const std::byte* packed, Cols cols, const float* x, std::size_t begin,
                                   std::size_t end, std::size_t rows, float* to, bool accumulate) {
  const std::size_t tile_bytes = PackedTileBytes(kType, cols);
  std::size_t tiles = DivideUp(end - begin, kRowTile);
  for (std::size_t groups = DivideUp(tiles, kVectorTiles); groups != 0; --groups) {
    const std::size_t count = tiles / groups;
    MultiplyVectorUpTo<kType, kVectorTiles>(count, packed + begin / kRowTile * tile_bytes, cols, x, rows - begin,
                                            to + begin, accumulate);
    begin += count * kRowTile;
    tiles -= count;
  }
}

// A batch is cut into blocks of kBatchRows x kBatchTokens, and their columns into chains: the activations of a block and
// chain are copied next to each other, since rows 2^n bytes apart would fall into the same cache sets, and the sums of a
// block stay in the cache until its last chain.
inline constexpr std::size_t kBatchRows = 192;
inline constexpr std::size_t kBatchTokens = 36;
inline constexpr std::size_t kMaxChain = 128;

// One chain of kTiles tiles (at a time, of `tiles` in all) times kTokens tokens, added to totals [kTokens, kBatchRows].
// `weights` is the first tile's first column of the chain; x [kTokens, kMaxChain].
template <WeightType kType, std::size_t kTiles, std::size_t kTokens>
HWY_INLINE void MultiplyBlock(const std::byte* weights, std::size_t tile_bytes, std::size_t tiles, std::size_t columns,
                              const float* x, float* totals) {
  std::size_t tile = 0;
  for (; tile + kTiles <= tiles; tile += kTiles) {
    Lanes16 sum[kTiles][kTokens];
    SetZero(sum);
    MultiplyChain<kType>(weights + tile * tile_bytes, tile_bytes / (16 * Info(kType).block_bytes), 0, columns, x,
                         kMaxChain, sum);
    HWY_UNROLL(16)
    for (std::size_t token = 0; token < kTokens; ++token) {
      HWY_UNROLL(16)
      for (std::size_t t = 0; t < kTiles; ++t) {
        float* total = totals + token * kBatchRows + (tile + t) * 16;
        Store16(Add16(Load16(total), sum[t][token]), total);
      }
    }
  }
  if constexpr (kTiles > 1) {
    if (tile < tiles) {
      MultiplyBlock<kType, kTiles / 2, kTokens>(weights + tile * tile_bytes, tile_bytes, tiles - tile, columns, x,
                                                totals + tile * 16);
    }
  }
}

// MultiplyBlock for a number of tokens that is known only now: 1 .. kTokens.
template <WeightType kType, std::size_t kTokens>
HWY_INLINE void MultiplyBlockUpTo(std::size_t tokens, const std::byte* weights, std::size_t tile_bytes,
                                  std::size_t tiles, std::size_t columns, const float* x, float* totals) {
  if (tokens == kTokens) {
    MultiplyBlock<kType, TilesForTokens(kTokens), kTokens>(weights, tile_bytes, tiles, columns, x, totals);
  } else if constexpr (kTokens > 1) {
    MultiplyBlockUpTo<kType, kTokens - 1>(tokens, weights, tile_bytes, tiles, columns, x, totals);
  }
}

// Several tokens.
template <WeightType kType>
HWY_NOINLINE void MultiplyBatch(const std::byte* packed, std::size_t rows, std::size_t cols, const float* x,
                                std::size_t x_stride, std::size_t tokens, std::size_t row_begin, std::size_t row_end,
                                float* to, std::size_t to_stride, bool accumulate) {
  constexpr std::size_t kWeightBytes = Info(kType).block_bytes;
  alignas(64) float totals[kBatchTokens * kBatchRows];
  alignas(64) float panel[kBatchTokens * kMaxChain];
  const std::size_t tile_bytes = PackedTileBytes(kType, cols);
  const std::size_t chain = ChainColumns(cols);
  static_assert(ChainColumns(255) <= kMaxChain && ChainColumns(256) <= kMaxChain);
  for (std::size_t row = row_begin; row < row_end; row += kBatchRows) {
    const std::size_t tiles = DivideUp(std::min(kBatchRows, row_end - row), kRowTile);
    const std::byte* weights = packed + row / kRowTile * tile_bytes;
    for (std::size_t first = 0; first < tokens; first += kBatchTokens) {
      const std::size_t count = std::min(kBatchTokens, tokens - first);
      std::fill_n(totals, count * kBatchRows, 0.0f);
      for (std::size_t begin = 0; begin < cols; begin += chain) {
        const std::size_t columns = std::min(chain, cols - begin);
        for (std::size_t token = 0; token < count; ++token) {
          std::copy_n(x + (first + token) * x_stride + begin, columns, panel + token * kMaxChain);
        }
        // Tiles of tokens differ by at most one: 13 = 7 + 6 keeps the multipliers busier than 12 + 1.
        std::size_t token = 0;
        for (std::size_t blocks = DivideUp(count, kMaxTileTokens); blocks != 0; --blocks) {
          const std::size_t now = (count - token) / blocks;
          MultiplyBlockUpTo<kType, kMaxTileTokens>(now, weights + begin * 16 * kWeightBytes, tile_bytes, tiles, columns,
                                                   panel + token * kMaxChain, totals + token * kBatchRows);
          token += now;
        }
      }
      for (std::size_t token = 0; token < count; ++token) {
        for (std::size_t tile = 0; tile < tiles; ++tile) {
          StoreRows16(Load16(totals + token * kBatchRows + tile * 16), to + (first + token) * to_stride + row + tile * 16,
                      rows - row - tile * 16, accumulate);
        }
      }
    }
  }
}

}  // namespace detail

// out[token, row] (=|+=) dot(weights[row], x[token]) for rows [row_begin, row_end) and tokens [token_begin, token_end).
// `packed` is the whole matrix of `rows` rows. row_begin is a multiple of 16; row_end too, or it is `rows`. Nothing beyond
// `rows` is written. Compile-time `cols` pay for one token (small models); several tokens run the same code for any width.
template <WeightType kType, Extent Cols>
void MatMulFloat(const std::byte* packed, std::size_t rows, Cols cols, const Activations& x, std::size_t token_begin,
                 std::size_t token_end, std::size_t row_begin, std::size_t row_end, const Output& out) {
  if (token_begin >= token_end || row_begin >= row_end) return;
  packed += PackedColumnsAt(kType, cols);
  const float* from = x.values + token_begin * x.stride;
  float* to = out.data + token_begin * out.stride;
  if (token_end - token_begin == 1) {
    detail::MultiplyVectorRows<kType>(packed, cols, from, row_begin, row_end, rows, to, out.accumulate);
  } else {
    detail::MultiplyBatch<kType>(packed, rows, cols, from, x.stride, token_end - token_begin, row_begin, row_end, to,
                                 out.stride, out.accumulate);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard
