// Matrix products with F32, F16 and BF16 weights: tiles of 16 rows, column by column (see packed_layout.hpp), times
// float32 activations.
//
// Apart from the quantised products because nothing is shared but the signature: here a product is an outer product of 16
// rows and a few tokens. Every output is one chain of multiply-adds over the columns in order, whatever the number of
// tokens and tiles that are computed together, so any split of tokens and rows gives the same bits.

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

// Tokens of one register tile, and 16-row tiles computed together with that many tokens: as many accumulators as there
// are registers for (16 with AVX2, 32 elsewhere), less those that hold weights and the broadcast activation.
#if HWY_TARGET != HWY_SCALAR && HWY_MAX_BYTES == 64 && !HWY_HAVE_SCALABLE
inline constexpr std::size_t kMaxTileTokens = 12;
constexpr std::size_t TilesPerTokens(std::size_t tokens) { return tokens <= 2 ? 8 : tokens <= 6 ? 4 : 2; }
#else
inline constexpr std::size_t kMaxTileTokens = 6;
constexpr std::size_t TilesPerTokens(std::size_t tokens) { return tokens == 1 ? 4 : tokens <= 3 ? 2 : 1; }
#endif

// Adds `value` to, or stores it as, the results of `rows` (at most 16 count) rows.
HWY_INLINE void StoreRows16(Lanes16 value, float* to, std::size_t rows, bool accumulate) {
  if (HWY_LIKELY(rows >= 16)) {
    if (accumulate) value = Add16(Load16(to), value);
    Store16(value, to);
  } else {
    if (accumulate) value = Add16(LoadPart16(to, rows), value);
    StorePart16(value, to, rows);
  }
}

// kTiles tiles of 16 rows times kTokens tokens. `x` is the first token's row, `to` the first output; `rows` counts the
// rows from the first tile to the end of the matrix.
template <WeightType kType, std::size_t kTiles, std::size_t kTokens, Extent Cols>
HWY_INLINE void MultiplyTiles(const std::byte* tiles, Cols cols, const float* x, std::size_t x_stride,
                              std::size_t rows, float* to, std::size_t to_stride, bool accumulate) {
  Lanes16 sum[kTiles][kTokens];
  HWY_UNROLL(16)
  for (std::size_t tile = 0; tile < kTiles; ++tile) {
    HWY_UNROLL(16)
    for (std::size_t token = 0; token < kTokens; ++token) sum[tile][token] = Set16(0.0f);
  }
  const std::size_t columns = cols;
  for (std::size_t col = 0; col < columns; ++col) {
    Lanes16 weights[kTiles];
    HWY_UNROLL(16)
    for (std::size_t tile = 0; tile < kTiles; ++tile) {
      weights[tile] = LoadFloats16<kType>(tiles, (tile * columns + col) * 16);
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
  HWY_UNROLL(16)
  for (std::size_t tile = 0; tile < kTiles; ++tile) {
    HWY_UNROLL(16)
    for (std::size_t token = 0; token < kTokens; ++token) {
      StoreRows16(sum[tile][token], to + token * to_stride + tile * 16, rows - tile * 16, accumulate);
    }
  }
}

// All row tiles times one block of kTokens tokens: kTiles at a time, then half as many, down to one.
template <WeightType kType, std::size_t kTiles, std::size_t kTokens, Extent Cols>
HWY_INLINE void MultiplyRows(const std::byte* tiles, Cols cols, const float* x, std::size_t x_stride, std::size_t begin,
                             std::size_t end, std::size_t rows, float* to, std::size_t to_stride, bool accumulate) {
  const std::size_t tile_bytes = PackedTileBytes(kType, cols);
  for (; begin + (kTiles - 1) * 16 < end; begin += kTiles * 16) {
    MultiplyTiles<kType, kTiles, kTokens>(tiles + begin / 16 * tile_bytes, cols, x, x_stride, rows - begin, to + begin,
                                          to_stride, accumulate);
  }
  if constexpr (kTiles > 1) {
    if (begin < end) {
      MultiplyRows<kType, kTiles / 2, kTokens>(tiles, cols, x, x_stride, begin, end, rows, to, to_stride, accumulate);
    }
  }
}

// MultiplyRows for a number of tokens that is known only now: 2 .. kTokens.
template <WeightType kType, std::size_t kTokens>
HWY_INLINE void MultiplyTokens(std::size_t tokens, const std::byte* tiles, std::size_t cols, const float* x,
                               std::size_t x_stride, std::size_t begin, std::size_t end, std::size_t rows, float* to,
                               std::size_t to_stride, bool accumulate) {
  if (tokens == kTokens) {
    MultiplyRows<kType, TilesPerTokens(kTokens), kTokens>(tiles, DynamicExtent{cols}, x, x_stride, begin, end, rows, to,
                                                          to_stride, accumulate);
  } else if constexpr (kTokens > 2) {
    MultiplyTokens<kType, kTokens - 1>(tokens, tiles, cols, x, x_stride, begin, end, rows, to, to_stride, accumulate);
  }
}

// Several tokens. Row tiles outside, blocks of tokens inside: weights come from memory once and then from the cache.
template <WeightType kType>
HWY_NOINLINE void MultiplyBatch(const std::byte* packed, std::size_t rows, std::size_t cols, const float* x,
                                std::size_t x_stride, std::size_t tokens, std::size_t row_begin, std::size_t row_end,
                                float* to, std::size_t to_stride, bool accumulate) {
  // Blocks differ by at most one token: 13 = 7 + 6 keeps the multipliers busier than 12 + 1.
  const std::size_t blocks = DivideUp(tokens, kMaxTileTokens);
  const std::size_t step = blocks == 1 ? row_end - row_begin : TilesPerTokens(kMaxTileTokens) * kRowTile;
  for (std::size_t row = row_begin; row < row_end; row += step) {
    const std::size_t row_stop = row_end - row < step ? row_end : row + step;
    std::size_t token = 0;
    for (std::size_t block = 0; block < blocks; ++block) {
      const std::size_t count = (tokens - token) / (blocks - block);
      MultiplyTokens<kType, kMaxTileTokens>(count, packed, cols, x + token * x_stride, x_stride, row, row_stop, rows,
                                            to + token * to_stride, to_stride, accumulate);
      token += count;
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
  const float* from = x.values + token_begin * x.stride;
  float* to = out.data + token_begin * out.stride;
  if (token_end - token_begin == 1) {
    detail::MultiplyRows<kType, detail::TilesPerTokens(1), 1>(packed, cols, from, x.stride, row_begin, row_end, rows, to,
                                                              out.stride, out.accumulate);
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
