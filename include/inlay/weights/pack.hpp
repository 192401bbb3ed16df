// Rewrites the tensors of a file into the packed weights buffer, once, in parallel, into memory of the caller.
#ifndef INLAY_WEIGHTS_PACK_HPP_
#define INLAY_WEIGHTS_PACK_HPP_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <span>

#include "inlay/config/model_config.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/finite.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/formats/codec.hpp"
#include "inlay/kernels/pack.hpp"
#include "inlay/weights/packed_weights.hpp"
#include "inlay/weights/weight_source.hpp"

INLAY_BEGIN_NAMESPACE

// Called between tensors with bytes written so far and in total; false stops the work (kCancelled).
using PackProgress = FunctionRef<bool(std::size_t done, std::size_t total)>;

// The type of each tensor as it will be packed: a matrix's own, F32 for vectors. `types` has one entry per source.
inline void ListTypes(std::span<const SourceTensor> sources, std::span<WeightType> types) {
  for (std::size_t i = 0; i < sources.size(); ++i) {
    types[i] = IsVector(TensorAt(i).role) ? WeightType::kF32 : sources[i].type;
  }
}

namespace detail {

// Whether `rows` rows of `cols` values decode to finite numbers. Decodes piece by piece into a fixed buffer: a row is
// made of independent blocks.
inline bool RowsAreFinite(WeightType type, const std::byte* data, std::size_t rows, std::size_t cols) {
  constexpr std::size_t kPiece = 256;
  std::array<float, kPiece> values;
  const std::size_t row_bytes = RowBytes(type, cols);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; c += kPiece) {
      const std::size_t count = std::min(kPiece, cols - c);
      DecodeRow(type, data + r * row_bytes + RowBytes(type, c), count, values.data());
      if (!std::all_of(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count), IsFinite)) return false;
    }
  }
  return true;
}

// Packs one tile whose rows do not follow each other in the source: gathers some columns of all of them at a time.
inline void PackGathered(const SourceTensor& source, std::size_t row, std::size_t valid, std::size_t cols, std::byte* tile) {
  constexpr std::size_t kPiece = kColumnGroup, kPieceBytes = kPiece * sizeof(float);
  std::array<std::byte, kRowTile * kPieceBytes> rows;
  const std::size_t row_bytes = RowBytes(source.type, cols);
  for (std::size_t c = 0; c < cols; c += kPiece) {
    const std::size_t count = std::min(kPiece, cols - c), bytes = RowBytes(source.type, count);
    for (std::size_t r = 0; r < valid; ++r) {
      std::memcpy(rows.data() + r * bytes, source.data + source.RowAt(row + r) * row_bytes + RowBytes(source.type, c), bytes);
    }
    PackColumns(source.type, rows.data(), bytes, valid, c, count, cols, tile);
  }
}

// Packs one matrix of [rows, cols], which begins with row `first` of the source; false when check_finite found a row with NaN or infinity. The padding after the
// last tile is zeroed, so that equal models give equal bytes.
inline bool PackMatrix(const SourceTensor& source, std::size_t first, std::size_t rows, std::size_t cols, std::span<std::byte> out,
                       bool check_finite, ExecutorRef executor) {
  const std::size_t row_bytes = RowBytes(source.type, cols);
  const std::size_t tile_bytes = PackedTileBytes(source.type, cols);
  const std::size_t tiles = DivideUp(rows, kRowTile);
  constexpr std::size_t kTilesPerTask = 4;
  std::atomic<bool> finite{true};
  executor.Run(DivideUp(tiles, kTilesPerTask), [&](std::size_t task) {
    const std::size_t end = std::min(tiles, (task + 1) * kTilesPerTask);
    for (std::size_t tile = task * kTilesPerTask; tile < end; ++tile) {
      const std::size_t row = tile * kRowTile;
      const std::size_t valid = std::min(kRowTile, rows - row);
      std::byte* to = out.data() + tile * tile_bytes;
      if (source.RowsTogether(first + row, valid) == valid) {
        PackTile(source.type, source.data + source.RowAt(first + row) * row_bytes, row_bytes, valid, cols, to);
      } else {
        PackGathered(source, first + row, valid, cols, to);
      }
      for (std::size_t r = 0; check_finite && r < valid; ++r) {
        if (!RowsAreFinite(source.type, source.data + source.RowAt(first + row + r) * row_bytes, 1, cols)) {
          finite.store(false, std::memory_order_relaxed);
        }
      }
    }
  });
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(tiles * tile_bytes), out.end(), std::byte{0});
  return finite.load();
}

// A vector as float32 into `to`, whose end is zeroed; false when check_finite found NaN or infinity.
inline bool PackVector(const SourceTensor& source, const TensorShape& shape, bool check_finite, std::span<std::byte> to) {
  std::fill(to.begin(), to.end(), std::byte{0});
  float* const values = reinterpret_cast<float*>(to.data());
  for (std::size_t n = 0; n < shape.count; ++n) {
    DecodeRow(source.type, source.data + n * RowBytes(source.type, shape.cols), shape.cols, values + n * shape.cols);
  }
  return !check_finite || std::all_of(values, values + shape.cols * shape.count, IsFinite);
}

inline Error NotFinite(const ModelConfig& config, TensorId id) {
  return Fail(ErrorCode::kNonFinite, TextBuffer<96>("tensor ", TensorName(config, id).view()).view(), "holds NaN or infinity");
}

}  // namespace detail

// Fills `out` (PackedWeightsBytes(config, types) bytes) from `sources`. With check_finite, a scale or value that is NaN
// or infinite is an error that names the tensor. On any error the content of `out` is unspecified.
// Cost: reads and writes every weight once; check_finite decodes them too.
inline Result<void> PackWeights(const ModelConfig& config, std::span<const SourceTensor> sources, bool check_finite,
                                std::span<std::byte> out, ExecutorRef executor, PackProgress progress) {
  if (sources.size() != TensorCount(config)) {
    return Fail(ErrorCode::kInvalidArgument, "sources", sources.size(), " entries, the model has ", TensorCount(config));
  }
  std::size_t at = 0;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id)) continue;
    const TensorShape shape = ShapeOf(config, id);
    const WeightType type = IsVector(id.role) ? WeightType::kF32 : sources[i].type;
    const std::size_t bytes = PackedTensorBytes(config, id, type);
    if (bytes > out.size() - at) {
      return Fail(ErrorCode::kOutOfMemory, "packed weights", "the buffer has only ", out.size(), " bytes");
    }
    const std::span<std::byte> to = out.subspan(at, bytes);
    bool finite = true;
    if (IsVector(id.role)) {
      finite = detail::PackVector(sources[i], shape, check_finite, to);
    } else {
      const std::size_t stride = bytes / shape.count;
      for (std::size_t n = 0; n < shape.count; ++n) {
        finite &= detail::PackMatrix(sources[i], n * shape.rows, shape.rows, shape.cols, to.subspan(n * stride, stride),
                                     check_finite, executor);
      }
    }
    if (!finite) return detail::NotFinite(config, id);
    at += bytes;
    if (!progress(at, out.size())) return Fail(ErrorCode::kCancelled, "pack", "stopped by the caller");
  }
  return {};
}

// The least memory that PackWeightsInPieces works with: a tile of the widest matrix, or the longest vector.
inline std::size_t PackPieceBytes(const ModelConfig& config, TensorTypes types) {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < types.size(); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id)) continue;
    const std::size_t tile = kAlignment + PackedTileBytes(types[i], ShapeOf(config, id).cols);
    bytes = std::max(bytes, IsVector(id.role) ? PackedTensorBytes(config, id, types[i]) : tile);
  }
  return bytes;
}

// What PackWeights would fill `out` with, piece by piece and in order, for models that do not fit into memory: `piece` is the
// only memory it needs, of PackPieceBytes or more. `types` are those of ListTypes. Errors: those of PackWeights and of `emit`.
inline Result<void> PackWeightsInPieces(const ModelConfig& config, std::span<const SourceTensor> sources, TensorTypes types,
                                        bool check_finite, std::span<std::byte> piece, ExecutorRef executor,
                                        FunctionRef<Result<void>(std::span<const std::byte>)> emit) {
  if (sources.size() != TensorCount(config) || types.size() != sources.size()) {
    return Fail(ErrorCode::kInvalidArgument, "sources", sources.size(), " entries, the model has ", TensorCount(config));
  }
  if (piece.size() < PackPieceBytes(config, types)) {
    return Fail(ErrorCode::kOutOfMemory, "packed weights", "a piece needs ", PackPieceBytes(config, types), " bytes, has ",
                piece.size());
  }
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id)) continue;
    const TensorShape shape = ShapeOf(config, id);
    const std::size_t bytes = PackedTensorBytes(config, id, types[i]);
    if (IsVector(id.role)) {
      if (!detail::PackVector(sources[i], shape, check_finite, piece.first(bytes))) return detail::NotFinite(config, id);
      INLAY_CHECK_OK(emit(piece.first(bytes)));
      continue;
    }
    const std::size_t stride = bytes / shape.count, tile_bytes = PackedTileBytes(types[i], shape.cols);
    const std::size_t rows_at_once = (piece.size() - kAlignment) / tile_bytes * kRowTile;
    for (std::size_t n = 0; n < shape.count; ++n) {
      for (std::size_t row = 0; row < shape.rows; row += rows_at_once) {
        const std::size_t rows = std::min(rows_at_once, shape.rows - row), before = row / kRowTile * tile_bytes;
        // What fills up the matrix comes with its last piece.
        const bool last = row + rows == shape.rows;
        const std::span<std::byte> to = piece.first(last ? stride - before : rows / kRowTile * tile_bytes);
        if (!detail::PackMatrix(sources[i], n * shape.rows + row, rows, shape.cols, to, check_finite, executor)) {
          return detail::NotFinite(config, id);
        }
        INLAY_CHECK_OK(emit(to));
      }
    }
  }
  return {};
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_PACK_HPP_
