// A sequence as bytes: what a cache holds, to be put away and taken up again with the same result to the last bit, later, in
// another process, or in a cache with room for another number of positions.
//
// Little-endian:
//   0   char[8]  "INLAYSEQ"
//   8   u32      version: 1
//   12  u32      KvType of keys and values
//   16  u64      bytes in all
//   24  u64      positions
//   32  u64      logits: 0 or the vocabulary
//   40  u8[32]   identity of the model (model/model.hpp)
//   72  layer after layer: of one that attends, head after head the keys of these positions, then head after head the values
//       (kernels/kv_layout.hpp, without room for further positions: the last group of positions has as many lanes as it needs);
//       of one that keeps a state, that, float32, where there are positions
//       logits, float32
//       u8[32]   SHA-256 of everything before
#ifndef INLAY_MODEL_SAVED_SEQUENCE_HPP_
#define INLAY_MODEL_SAVED_SEQUENCE_HPP_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "inlay/config/config_fields.hpp"
#include "inlay/config/model_config.hpp"
#include "inlay/core/finite.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/sha256.hpp"
#include "inlay/formats/kv_type.hpp"
#include "inlay/kernels/kv_layout.hpp"
#include "inlay/layers/sequence_cache.hpp"

INLAY_BEGIN_NAMESPACE

// Tells models apart: what their saved sequences carry.
using ModelIdentity = Sha256Digest;

// Of a configuration (but for its trained context, which limits sequences and nothing else) and its packed weights, of which
// 64 pieces of 1 KiB are read that lie evenly apart. So it takes no time, and models of the same configuration whose weights
// differ in few places may have the same.
inline ModelIdentity IdentityOf(const ModelConfig& config, std::span<const std::byte> packed) {
  Sha256 hash;
  // Fields at their default do not count, so that a version that has more of them finds the same.
  for (const ConfigField& field : kConfigFields) {
    if (field.name == "context" || SameField(config, ModelConfig{}, field)) continue;
    hash.Update(std::as_bytes(std::span(field.name)));
    hash.Update({reinterpret_cast<const std::byte*>(&config) + field.offset, BytesOf(field.kind)});
  }
  const std::uint64_t size = packed.size();
  hash.Update(std::as_bytes(std::span(&size, 1)));
  constexpr std::size_t kPieces = 64, kPieceBytes = 1024;
  if (packed.size() <= kPieces * kPieceBytes) {
    hash.Update(packed);
  } else {
    const std::size_t apart = (packed.size() - kPieceBytes) / (kPieces - 1);
    for (std::size_t i = 0; i < kPieces; ++i) hash.Update(packed.subspan(i * apart, kPieceBytes));
  }
  return hash.Finish();
}

namespace detail {

static_assert(std::endian::native == std::endian::little, "sequences are saved as they are: little-endian targets only");

inline constexpr std::string_view kSavedSequenceMagic = "INLAYSEQ";
inline constexpr std::uint32_t kSavedSequenceVersion = 1;

struct SavedSequenceHeader {
  char magic[8];
  std::uint32_t version;
  std::uint32_t kv;
  std::uint64_t bytes;
  std::uint64_t positions;
  std::uint64_t logits;
  ModelIdentity identity;
};
static_assert(sizeof(SavedSequenceHeader) == 72);

// f(bytes) for every stretch of a cache's memory that holds something of its first `positions` positions, in a fixed order.
// States are those that `state_of` (layer -> span of floats) names.
template <class StateOf, class Function>
void ForEachStretch(const SequenceCache& cache, const CacheShape& shape, std::size_t positions, StateOf&& state_of,
                    Function&& f) {
  if (positions == 0) return;
  const KvType type = cache.type();
  const std::size_t groups = positions / kKvChunk, rest = positions % kKvChunk;
  const std::size_t lane_bytes = KvKeyLaneBytes(type), row_bytes = kKvChunk * lane_bytes;
  const std::size_t value_lanes = KvValueLanes(type), whole = positions / value_lanes * value_lanes;
  const auto scales = [&](std::byte* head, std::size_t dim, std::size_t capacity, std::size_t count) {
    for (std::size_t row = 0; row < count; ++row) {
      f(std::span(head + KvScaleOffset(type, dim, capacity) + row * capacity * sizeof(float), positions * sizeof(float)));
    }
  };
  for (std::size_t l = 0; l < shape.OwnLayers(); ++l) {
    if (shape.state_layers.Has(l)) {
      f(std::as_writable_bytes(state_of(l)));
      continue;
    }
    const KvLayer layer = cache.layer(l);
    const std::size_t head_dim = shape.HeadDim(l), value_dim = shape.ValueDim(l);
    const std::size_t rows = KvKeyRows(type, head_dim), value_bytes = KvValueRowBytes(type, value_dim);
    for (std::size_t h = 0; h < layer.kv_heads; ++h) {
      std::byte* const keys = layer.keys(h);
      f(std::span(keys, groups * rows * row_bytes));
      for (std::size_t row = 0; rest != 0 && row < rows; ++row) {
        f(std::span(keys + (groups * rows + row) * row_bytes, rest * lane_bytes));
      }
      scales(keys, head_dim, layer.capacity, KvKeyScales(type, head_dim));
    }
    for (std::size_t h = 0; h < layer.kv_heads && value_dim != 0; ++h) {
      std::byte* const values = layer.values(h);
      f(std::span(values, whole * value_bytes));
      // Integers of a last position without the other of its pair.
      for (std::size_t i = 0; positions % value_lanes != 0 && i < value_bytes; ++i) {
        f(std::span(values + whole * value_bytes + i * value_lanes, 1));
      }
      scales(values, value_dim, layer.capacity, KvValueScales(type));
    }
  }
}

}  // namespace detail

// The bytes of `positions` positions and `logits` logits: what SaveSequence writes, exactly.
constexpr std::size_t SavedSequenceBytes(const ModelConfig& config, KvType type, std::size_t positions, std::size_t logits) {
  const CacheShape shape = CacheShape::Of(config);
  const std::size_t states = shape.StateLayersBefore(shape.layers);
  std::size_t position = 0;  // the bytes of one
  for (std::size_t l = 0; l < shape.OwnLayers(); ++l) {
    if (shape.state_layers.Has(l)) continue;
    const std::size_t head_dim = shape.HeadDim(l), dim = shape.ValueDim(l);
    const std::size_t key = KvKeyRows(type, head_dim) * KvKeyLaneBytes(type) + KvKeyScales(type, head_dim) * sizeof(float);
    const std::size_t value = dim == 0 ? 0 : KvValueRowBytes(type, dim) + KvValueScales(type) * sizeof(float);
    position += shape.KvHeads(l) * (key + value);
  }
  return sizeof(detail::SavedSequenceHeader) + positions * position +
         (positions == 0 ? 0 : states * shape.state_floats * sizeof(float)) + logits * sizeof(float) + sizeof(Sha256Digest);
}

// Writes the positions of `cache`, made for `config`, and `logits` (as many as the vocabulary, or none) to the beginning of
// `out`; returns the number of bytes. kInvalidArgument: a cache of another model. kTooLarge: `out` is too small; then it is
// as it was. Time: a copy and a hash of the bytes. No allocation.
inline Result<std::size_t> SaveSequence(const ModelConfig& config, const ModelIdentity& identity, const SequenceCache& cache,
                                        std::span<const float> logits, std::span<std::byte> out) {
  if (!cache.IsFor(config)) return Fail(ErrorCode::kInvalidArgument, "cache", "was made for another model");
  if (!logits.empty() && logits.size() != config.vocab) {
    return Fail(ErrorCode::kInvalidArgument, "logits", logits.size(), " of a vocabulary of ", config.vocab);
  }
  const std::size_t bytes = SavedSequenceBytes(config, cache.type(), cache.length(), logits.size());
  if (out.size() < bytes) {
    return Fail(ErrorCode::kTooLarge, "saved sequence", "has ", bytes, " bytes, there is room for ", out.size());
  }
  detail::SavedSequenceHeader header{};
  detail::kSavedSequenceMagic.copy(header.magic, sizeof(header.magic));
  header.version = detail::kSavedSequenceVersion;
  header.kv = static_cast<std::uint32_t>(cache.type());
  header.bytes = bytes;
  header.positions = cache.length();
  header.logits = logits.size();
  header.identity = identity;
  std::byte* at = out.data();
  const auto put = [&](std::span<const std::byte> piece) {
    if (!piece.empty()) std::memcpy(at, piece.data(), piece.size());
    at += piece.size();
  };
  put(std::as_bytes(std::span(&header, 1)));
  const auto state_of = [&](std::size_t layer) {
    const std::span<const float> state = cache.state(layer);
    return std::span(const_cast<float*>(state.data()), state.size());  // only read, below
  };
  detail::ForEachStretch(cache, CacheShape::Of(config), cache.length(), state_of, put);
  put(std::as_bytes(logits));
  put(Sha256::Of(out.first(bytes - sizeof(Sha256Digest))));
  return bytes;
}

// Makes `cache`, made for `config`, what it was when `saved` was written, and writes the logits, where it has any, to
// `logits` (room for a vocabulary); returns their number. What the cache held is forgotten, also what it could go back to.
// Everything is checked first; on an error nothing has changed. kBadFile: not a saved sequence, or not whole any more (every
// changed bit is found). kTruncated. kUnsupported: another version. kMismatch: of another model or cache type. kContextFull:
// more positions than the cache has. kNonFinite: logits. Time: a copy and a hash of the bytes. No allocation.
inline Result<std::size_t> RestoreSequence(const ModelConfig& config, const ModelIdentity& identity,
                                           std::span<const std::byte> saved, SequenceCache& cache, std::span<float> logits) {
  if (!cache.IsFor(config)) return Fail(ErrorCode::kInvalidArgument, "cache", "was made for another model");
  detail::SavedSequenceHeader header;
  const std::size_t known = saved.size() < sizeof(header.magic) ? saved.size() : sizeof(header.magic);
  if (known != 0 && std::memcmp(saved.data(), detail::kSavedSequenceMagic.data(), known) != 0) {
    return FailAt(ErrorCode::kBadFile, 0, "magic", "this is not a saved sequence");
  }
  if (saved.size() < sizeof(header)) {
    return FailAt(ErrorCode::kTruncated, saved.size(), "saved sequence", "ends in its header");
  }
  std::memcpy(&header, saved.data(), sizeof(header));
  if (header.version != detail::kSavedSequenceVersion) {
    return FailAt(ErrorCode::kUnsupported, offsetof(detail::SavedSequenceHeader, version), "version", header.version,
                  "; this library reads ", detail::kSavedSequenceVersion);
  }
  if (header.bytes > saved.size()) {
    return FailAt(ErrorCode::kTruncated, saved.size(), "saved sequence", "has ", saved.size(), " bytes of ", header.bytes);
  }
  if (header.bytes != saved.size() || header.bytes < sizeof(header) + sizeof(Sha256Digest)) {
    return FailAt(ErrorCode::kBadFile, offsetof(detail::SavedSequenceHeader, bytes), "bytes", header.bytes, ", there are ",
                  saved.size());
  }
  const std::size_t body_end = saved.size() - sizeof(Sha256Digest);
  const Sha256Digest digest = Sha256::Of(saved.first(body_end));
  if (std::memcmp(digest.data(), saved.data() + body_end, digest.size()) != 0) {
    return FailAt(ErrorCode::kBadFile, body_end, "sha256", "is not that of the bytes before it: something has changed");
  }
  if (header.identity != identity) {
    return FailAt(ErrorCode::kMismatch, offsetof(detail::SavedSequenceHeader, identity), "identity",
                  "the sequence is of another model, or of one with other weights");
  }
  if (header.kv != static_cast<std::uint32_t>(cache.type())) {
    return FailAt(ErrorCode::kMismatch, offsetof(detail::SavedSequenceHeader, kv), "kv", "is not the type of this cache, ",
                  Name(cache.type()));
  }
  if (header.positions > cache.context()) {
    return FailAt(ErrorCode::kContextFull, offsetof(detail::SavedSequenceHeader, positions), "positions", header.positions,
                  ", this cache has ", cache.context());
  }
  const std::size_t positions = static_cast<std::size_t>(header.positions);
  if ((header.logits != 0 && header.logits != config.vocab) || header.logits > logits.size()) {
    return FailAt(ErrorCode::kBadFile, offsetof(detail::SavedSequenceHeader, logits), "logits", header.logits,
                  " of a vocabulary of ", config.vocab, ", with room for ", logits.size());
  }
  const std::size_t count = static_cast<std::size_t>(header.logits);
  if (SavedSequenceBytes(config, cache.type(), positions, count) != saved.size()) {
    return FailAt(ErrorCode::kBadFile, offsetof(detail::SavedSequenceHeader, bytes), "bytes", header.bytes,
                  " are not what this many positions take");
  }
  const std::byte* const last = saved.data() + body_end - count * sizeof(float);
  for (std::size_t i = 0; i < count; ++i) {
    float value;
    std::memcpy(&value, last + i * sizeof(float), sizeof(float));
    if (!IsFinite(value)) {
      return FailAt(ErrorCode::kNonFinite, body_end - (count - i) * sizeof(float), "logits", "that of token ", i, " is not finite");
    }
  }

  cache.Truncate(0);
  const std::byte* at = saved.data() + sizeof(header);
  detail::ForEachStretch(cache, CacheShape::Of(config), positions, [&](std::size_t layer) { return cache.next_state(layer); },
                         [&](std::span<std::byte> piece) {
                           if (!piece.empty()) std::memcpy(piece.data(), at, piece.size());
                           at += piece.size();
                         });
  if (positions != 0) cache.Advance(positions);
  cache.Save();
  if (count != 0) std::memcpy(logits.data(), last, count * sizeof(float));
  return count;
}

INLAY_END_NAMESPACE

#endif  // INLAY_MODEL_SAVED_SEQUENCE_HPP_
