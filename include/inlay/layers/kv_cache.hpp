// The key/value cache of one sequence: what attention remembers of earlier positions.
#ifndef INLAY_LAYERS_KV_CACHE_HPP_
#define INLAY_LAYERS_KV_CACHE_HPP_

#include <cstddef>
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
  std::size_t capacity = 0;    // positions
  std::size_t head_bytes = 0;  // of the keys of one head; the values take the same
  std::byte* data = nullptr;   // keys of all heads, then values of all heads
  std::size_t kv_heads = 0;

  std::byte* keys(std::size_t head) const { return data + head * head_bytes; }
  std::byte* values(std::size_t head) const { return data + (kv_heads + head) * head_bytes; }
};

// Cache of one sequence over all layers. Views memory that the caller owns. Positions 0 .. length() - 1 are filled;
// a forward pass appends. Going back is free: Truncate forgets the positions from `length` on.
class KvCache {
 public:
  // Takes room for `context` positions (rounded up to whole chunks) from an arena, or counts it.
  template <class Memory>
  static constexpr Result<KvCache> Create(Memory& memory, const ModelConfig& config, KvType type, std::size_t context) {
    KvCache cache;
    cache.layer_.type = type;
    cache.layer_.capacity = KvCapacity(context);
    cache.layer_.head_bytes = KvHeadBytes(type, config.head_dim, cache.layer_.capacity);
    cache.layer_.kv_heads = config.kv_heads;
    cache.context_ = context;
    cache.layers_ = config.layers;
    cache.head_dim_ = config.head_dim;
    cache.layer_bytes_ = 2 * std::size_t{config.kv_heads} * cache.layer_.head_bytes;
    INLAY_ASSIGN_OR_RETURN(const std::span<std::byte> bytes,
                           memory.template Allocate<std::byte>(config.layers * cache.layer_bytes_, "kv cache"));
    cache.layer_.data = bytes.data();
    return cache;
  }

  KvLayer layer(std::size_t index) const {
    KvLayer layer = layer_;
    layer.data += index * layer_bytes_;
    return layer;
  }

  KvType type() const { return layer_.type; }
  // Whether its keys and values have the shape of a model's.
  bool IsFor(const ModelConfig& config) const {
    return layers_ == config.layers && layer_.kv_heads == config.kv_heads && head_dim_ == config.head_dim;
  }
  std::size_t context() const { return context_; }  // positions that may be used
  std::size_t length() const { return length_; }    // positions that are filled
  std::size_t remaining() const { return context_ - length_; }

  // Forgets all positions from `length` on; does nothing when there are none.
  void Truncate(std::size_t length) { length_ = length < length_ ? length : length_; }

  // For the forward pass: `count` more positions have been stored.
  void Advance(std::size_t count) { length_ += count; }

 private:
  KvLayer layer_;
  std::size_t layer_bytes_ = 0;
  std::size_t layers_ = 0;
  std::size_t head_dim_ = 0;
  std::size_t context_ = 0;
  std::size_t length_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_LAYERS_KV_CACHE_HPP_
