// What a model remembers of one sequence: the keys and values of layers that attend, the state of layers that keep one.
#ifndef INLAY_LAYERS_SEQUENCE_CACHE_HPP_
#define INLAY_LAYERS_SEQUENCE_CACHE_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "inlay/config/model_config.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/formats/kv_type.hpp"
#include "inlay/kernels/kv_layout.hpp"

INLAY_BEGIN_NAMESPACE

// The keys and values of one layer, head after head (layout: kernels/kv_layout.hpp).
struct KvLayer {
  KvType type = KvType::kF32;
  std::size_t capacity = 0;     // positions
  std::size_t key_bytes = 0;    // of one head
  std::size_t value_bytes = 0;
  std::size_t kv_heads = 0;
  std::byte* data = nullptr;    // keys of all heads, then values of all heads

  std::byte* keys(std::size_t head) const { return data + head * key_bytes; }
  // nullptr: values are the first elements of the keys.
  std::byte* values(std::size_t head) const {
    return value_bytes == 0 ? nullptr : data + kv_heads * key_bytes + head * value_bytes;
  }
};

// What decides the size of a cache, besides its context and the type of its keys and values.
struct CacheShape {
  std::uint32_t layers = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim = 0;
  std::uint32_t value_dim = 0;   // 0: values are the first elements of the keys
  LayerPattern state_layers{};   // layers that keep a state instead of keys and values
  std::size_t state_floats = 0;  // of one such layer
  // Layers whose keys and values have these widths instead (both the same); and how many layers at the end have none, but read
  // those of the last layer of their own kind.
  LayerPattern local_layers{};
  std::uint32_t local_kv_heads = 0;
  std::uint32_t local_head_dim = 0;
  std::uint32_t shared_layers = 0;

  constexpr bool operator==(const CacheShape&) const = default;

  static constexpr CacheShape Of(const ModelConfig& config) {
    const std::uint32_t value_dim = config.latent.rank != 0 ? 0 : static_cast<std::uint32_t>(config.value_width());
    CacheShape shape{config.layers, config.kv_heads, config.head_dim, value_dim, config.state.layers, config.state_floats()};
    if (config.local.head_dim == 0 && config.attention.shared_layers == 0) return shape;
    const ModelConfig local = config.OfLocalLayers();
    shape.local_layers = config.LocalLayers();
    shape.local_kv_heads = local.kv_heads;
    shape.local_head_dim = local.head_dim;
    shape.shared_layers = config.attention.shared_layers;
    return shape;
  }

  // Of a layer with keys and values of its own.
  constexpr bool IsLocal(std::size_t layer) const { return local_head_dim != 0 && local_layers.Has(layer); }
  constexpr std::size_t HeadDim(std::size_t layer) const { return IsLocal(layer) ? local_head_dim : head_dim; }
  constexpr std::size_t ValueDim(std::size_t layer) const { return IsLocal(layer) ? local_head_dim : value_dim; }
  constexpr std::size_t KvHeads(std::size_t layer) const { return IsLocal(layer) ? local_kv_heads : kv_heads; }

  constexpr std::size_t OwnLayers() const { return layers - std::size_t{shared_layers}; }  // with keys and values or a state
  // The layer whose keys and values a layer reads.
  constexpr std::size_t KeysFrom(std::size_t layer) const {
    if (layer < OwnLayers()) return layer;
    for (std::size_t own = OwnLayers(); own-- != 0;) {
      if (local_layers.Has(own) == local_layers.Has(layer)) return own;
    }
    return layer;
  }
  constexpr std::size_t LocalLayersBefore(std::size_t layer) const {
    std::size_t count = 0;
    for (std::size_t l = 0; l < layer && local_layers.period != 0; ++l) count += local_layers.Has(l) ? 1 : 0;
    return count;
  }

  constexpr std::size_t StateLayersBefore(std::size_t layer) const {
    std::size_t count = 0;
    for (std::size_t l = 0; l < layer; ++l) count += state_layers.Has(l) ? 1 : 0;
    return count;
  }
};

// Memory of one sequence over all layers; views memory that the caller owns. Positions 0 .. length() - 1 are filled; a
// forward pass appends. A pass writes keys and values behind the filled positions and states into a second copy, so a pass
// that fails leaves everything as it was.
//
// Going back: keys and values of any earlier position are still there, the states of earlier positions are not. A cache with
// states can go back to its beginning and to the one position that was saved last.
class SequenceCache {
 public:
  // Takes room for `context` positions (rounded up to whole chunks) from an arena, or counts it.
  template <class Memory>
  INLAY_COLD static constexpr Result<SequenceCache> Create(Memory& memory, const CacheShape& shape, KvType type,
                                                           std::size_t context) {
    SequenceCache cache;
    cache.shape_ = shape;
    const auto layer_of = [&](std::uint32_t kv_heads, std::uint32_t head_dim, std::uint32_t value_dim) {
      KvLayer layer{type, KvCapacity(context)};
      layer.key_bytes = KvKeyBytes(type, head_dim, layer.capacity);
      layer.value_bytes = value_dim == 0 ? 0 : KvValueBytes(type, value_dim, layer.capacity);
      layer.kv_heads = kv_heads;
      return layer;
    };
    cache.layer_ = layer_of(shape.kv_heads, shape.head_dim, shape.value_dim);
    cache.local_layer_ = layer_of(shape.local_kv_heads, shape.local_head_dim, shape.local_head_dim);
    cache.context_ = context;
    const std::size_t states = shape.StateLayersBefore(shape.layers);
    INLAY_ASSIGN_OR_RETURN(
        const std::span<std::byte> bytes,
        memory.template Allocate<std::byte>(cache.BytesBefore(shape.OwnLayers()), "kv cache"));
    cache.data_ = bytes.data();
    for (std::span<float>& copy : cache.copies_) {
      INLAY_ASSIGN_OR_RETURN(copy, memory.template Allocate<float>(states * shape.state_floats, "states"));
    }
    if (cache.copies_[0].data() != nullptr) std::fill(cache.copies_[0].begin(), cache.copies_[0].end(), 0.0f);
    return cache;
  }

  template <class Memory>
  INLAY_COLD static constexpr Result<SequenceCache> Create(Memory& memory, const ModelConfig& config, KvType type,
                                                std::size_t context) {
    return Create(memory, CacheShape::Of(config), type, context);
  }

  // Of a layer that attends: its own, or those that it shares.
  KvLayer layer(std::size_t index) const {
    const std::size_t own = shape_.KeysFrom(index);
    KvLayer layer = shape_.local_layers.Has(own) ? local_layer_ : layer_;
    layer.data = data_ + BytesBefore(own);
    return layer;
  }

  // Of a layer that keeps a state, [state_floats]: what it is after length() tokens (zeros in the beginning), and where a
  // pass leaves what it is after its own tokens.
  std::span<const float> state(std::size_t index) const { return StateOf(current_, index); }
  std::span<float> next_state(std::size_t index) const { return StateOf(next(), index); }

  KvType type() const { return layer_.type; }
  // Whether it has the shape that a model's caches have.
  bool IsFor(const ModelConfig& config) const { return shape_ == CacheShape::Of(config); }
  std::size_t context() const { return context_; }  // positions that may be used
  std::size_t length() const { return length_; }    // positions that are filled
  std::size_t remaining() const { return context_ - length_; }

  // Forgets all positions from `length` on, and returns how many are left: with states, those up to the saved position if
  // that is not beyond `length`, else none. Does nothing when there are no positions from `length` on. Free, but that forgetting
  // all positions clears the states.
  std::size_t Truncate(std::size_t length) {
    if (length >= length_) return length_;
    length_ = length;
    if (!copies_[0].empty()) {
      length_ = saved_length_ <= length ? saved_length_ : 0;
      current_ = saved_;
      if (length_ == 0) std::fill(copies_[current_].begin(), copies_[current_].end(), 0.0f);
    }
    saved_length_ = std::min(saved_length_, length_);
    return length_;
  }

  // Makes the present position the one that Truncate can go back to. Free: later passes leave this copy of the states alone.
  void Save() {
    saved_ = current_;
    saved_length_ = length_;
  }

  // For the forward pass: `count` (at least 1) more positions have been stored, and with them the next states.
  void Advance(std::size_t count) {
    length_ += count;
    current_ = next();
  }

 private:
  static constexpr std::size_t BytesOf(const KvLayer& layer) { return layer.kv_heads * (layer.key_bytes + layer.value_bytes); }
  // Of the keys and values of the layers before one that has its own.
  constexpr std::size_t BytesBefore(std::size_t layer) const {
    const std::size_t local = shape_.LocalLayersBefore(layer);
    const std::size_t states = shape_.state_layers.period == 0 ? 0 : shape_.StateLayersBefore(layer);
    return local * BytesOf(local_layer_) + (layer - local - states) * BytesOf(layer_);
  }
  std::span<float> StateOf(std::size_t copy, std::size_t index) const {
    return copies_[copy].subspan(shape_.StateLayersBefore(index) * shape_.state_floats, shape_.state_floats);
  }
  // The copy that holds neither the present states nor the saved ones.
  std::size_t next() const { return current_ == saved_ ? (current_ + 1) % 3 : 3 - current_ - saved_; }

  CacheShape shape_;
  KvLayer layer_, local_layer_;  // of the two kinds, without a place
  std::byte* data_ = nullptr;
  std::array<std::span<float>, 3> copies_;  // [state layers, state_floats]
  std::size_t current_ = 0, saved_ = 0;     // which copy is what
  std::size_t context_ = 0;
  std::size_t length_ = 0;
  std::size_t saved_length_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_LAYERS_SEQUENCE_CACHE_HPP_
