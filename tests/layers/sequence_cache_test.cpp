#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <set>

#include "inlay/core/arena.hpp"
#include "inlay/layers/sequence_cache.hpp"
#include "tests/support/random_model.hpp"

namespace {

using inlay::KvType;

constexpr inlay::ModelConfig kConfig{.dim = 8, .layers = 3, .heads = 4, .kv_heads = 2, .head_dim = 6, .ffn_dim = 8,
                                     .vocab = 5, .context = 100, .rope_dim = 6};

BOOST_AUTO_TEST_SUITE(layers_sequence_cache)

// Keys and values of all layers and heads lie side by side and fill the memory.
BOOST_AUTO_TEST_CASE(layout) {
  for (const KvType type : inlay::AllKvTypes::kList) {
    inlay::MemoryCounter counter;
    BOOST_REQUIRE(inlay::SequenceCache::Create(counter, kConfig, type, 100));
    inlay_test::AlignedBytes memory(counter.used());
    inlay::Arena arena = *inlay::Arena::Create(memory);
    const auto cache = inlay::SequenceCache::Create(arena, kConfig, type, 100);
    BOOST_REQUIRE(cache);
    BOOST_TEST(arena.used() == counter.used());
    std::set<const std::byte*> starts;
    for (std::size_t l = 0; l < kConfig.layers; ++l) {
      const inlay::KvLayer layer = cache->layer(l);
      BOOST_TEST(layer.capacity == 128u);
      BOOST_TEST(layer.key_bytes == inlay::KvKeyBytes(type, 6, 128));
      BOOST_TEST(layer.value_bytes == inlay::KvValueBytes(type, 6, 128));
      BOOST_TEST(layer.value_bytes == layer.key_bytes);
      BOOST_TEST((layer.type == type));
      for (std::size_t h = 0; h < kConfig.kv_heads; ++h) {
        starts.insert(layer.keys(h));
        starts.insert(layer.values(h));
      }
    }
    const std::size_t head_bytes = inlay::KvKeyBytes(type, 6, 128);
    BOOST_TEST(starts.size() == 3u * 2 * 2);
    BOOST_TEST(*starts.begin() == memory.data());
    BOOST_TEST(*starts.rbegin() + head_bytes == memory.data() + memory.size());
    const std::byte* expected = memory.data();
    for (const std::byte* start : starts) {
      BOOST_TEST(start == expected);
      expected += head_bytes;
    }
  }
}

BOOST_AUTO_TEST_CASE(lengths) {
  inlay::MemoryCounter counter;
  inlay::SequenceCache cache = *inlay::SequenceCache::Create(counter, kConfig, KvType::kF16, 100);
  BOOST_TEST(cache.context() == 100u);
  BOOST_TEST(cache.remaining() == 100u);
  cache.Advance(70);
  BOOST_TEST(cache.length() == 70u);
  BOOST_TEST(cache.remaining() == 30u);
  BOOST_TEST(cache.Truncate(71) == 70u);
  BOOST_TEST(cache.length() == 70u);
  BOOST_TEST(cache.Truncate(3) == 3u);
  BOOST_TEST(cache.length() == 3u);
}

// Values narrower than keys: each has its own size, and all of them fill the memory.
BOOST_AUTO_TEST_CASE(two_widths) {
  inlay::ModelConfig config = kConfig;
  config.head_dim = 40;
  config.value_dim = 24;
  inlay::MemoryCounter counter;
  BOOST_REQUIRE(inlay::SequenceCache::Create(counter, config, KvType::kF16, 64));
  inlay_test::AlignedBytes memory(counter.used());
  inlay::Arena arena = *inlay::Arena::Create(memory);
  const inlay::SequenceCache cache = *inlay::SequenceCache::Create(arena, config, KvType::kF16, 64);
  const inlay::KvLayer last = cache.layer(2);
  BOOST_TEST(last.key_bytes == inlay::KvKeyBytes(KvType::kF16, 40, 64));
  BOOST_TEST(last.value_bytes == inlay::KvValueBytes(KvType::kF16, 24, 64));
  BOOST_TEST(last.values(0) == last.keys(1) + last.key_bytes);
  BOOST_TEST(last.values(1) + last.value_bytes == memory.data() + memory.size());
}

// Values that lie in the keys take no memory of their own.
BOOST_AUTO_TEST_CASE(values_in_the_keys) {
  inlay::CacheShape shape{.layers = 3, .kv_heads = 1, .head_dim = 40};
  inlay::MemoryCounter counter;
  BOOST_REQUIRE(inlay::SequenceCache::Create(counter, shape, KvType::kF16, 64));
  BOOST_TEST(counter.used() == 3 * inlay::KvKeyBytes(KvType::kF16, 40, 64));
  inlay_test::AlignedBytes memory(counter.used());
  inlay::Arena arena = *inlay::Arena::Create(memory);
  const inlay::SequenceCache cache = *inlay::SequenceCache::Create(arena, shape, KvType::kF16, 64);
  BOOST_TEST(cache.layer(1).values(0) == nullptr);
  BOOST_TEST(cache.layer(2).keys(0) + cache.layer(2).key_bytes == memory.data() + memory.size());
}

// Layers with a window have other heads, and the last two layers read the keys and values of the last ones of their kind:
// layer 4 (with a window) those of layer 2, layer 5 those of layer 3.
BOOST_AUTO_TEST_CASE(two_kinds_of_layers) {
  inlay::ModelConfig config{.layers = 6, .heads = 4, .kv_heads = 1, .head_dim = 24, .window = 8};
  config.attention.global = inlay::LayerPattern{6}.Add(3).Add(5);
  config.attention.shared_layers = 2;
  config.local = {.head_dim = 36, .kv_heads = 2, .rope_dim = 12};
  const std::size_t wide = 2 * inlay::KvKeyBytes(KvType::kF16, 24, 64), narrow = 2 * 2 * inlay::KvKeyBytes(KvType::kF16, 36, 64);
  inlay::MemoryCounter counter;
  BOOST_REQUIRE(inlay::SequenceCache::Create(counter, config, KvType::kF16, 64));
  BOOST_TEST(counter.used() == 3 * narrow + wide);
  inlay_test::AlignedBytes memory(counter.used());
  inlay::Arena arena = *inlay::Arena::Create(memory);
  const inlay::SequenceCache cache = *inlay::SequenceCache::Create(arena, config, KvType::kF16, 64);
  for (const std::size_t l : {0, 1, 2}) {
    BOOST_TEST(cache.layer(l).data == memory.data() + l * narrow);
    BOOST_TEST(cache.layer(l).kv_heads == 2u);
    BOOST_TEST(cache.layer(l).key_bytes == inlay::KvKeyBytes(KvType::kF16, 36, 64));
  }
  BOOST_TEST(cache.layer(3).data == memory.data() + 3 * narrow);
  BOOST_TEST(cache.layer(3).kv_heads == 1u);
  BOOST_TEST(cache.layer(3).values(0) + cache.layer(3).value_bytes == memory.data() + memory.size());
  BOOST_TEST(cache.layer(4).data == cache.layer(2).data);
  BOOST_TEST(cache.layer(5).data == cache.layer(3).data);
  BOOST_TEST(cache.layer(5).key_bytes == cache.layer(3).key_bytes);
  BOOST_TEST(cache.IsFor(config));
  config.attention.shared_layers = 1;
  BOOST_TEST(!cache.IsFor(config));
}

// --- layers that keep a state ---

constexpr inlay::CacheShape kStates{.layers = 5, .kv_heads = 2, .head_dim = 6, .value_dim = 6,
                                    .state_layers = inlay::LayerPattern::FirstOf(2), .state_floats = 33};

struct StateCache {
  StateCache() {
    inlay::MemoryCounter counter;
    BOOST_REQUIRE(inlay::SequenceCache::Create(counter, kStates, KvType::kF32, 100));
    memory.assign(counter.used(), std::byte{0x7F});
    inlay::Arena arena = *inlay::Arena::Create(memory);
    cache = *inlay::SequenceCache::Create(arena, kStates, KvType::kF32, 100);
    BOOST_TEST(arena.used() == memory.size());
  }
  // A pass: the new states are the old ones plus `value`.
  void Pass(std::size_t tokens, float value) {
    Fill(value);
    cache.Advance(tokens);
  }
  // A pass that fails before its end.
  void Fill(float value) {
    for (const std::size_t layer : {0, 2, 4}) {
      for (std::size_t i = 0; i < kStates.state_floats; ++i) {
        cache.next_state(layer)[i] = cache.state(layer)[i] + value * static_cast<float>(layer + 1);
      }
    }
  }
  bool Holds(float sum) const {
    bool holds = true;
    for (const std::size_t layer : {0, 2, 4}) {
      for (const float value : cache.state(layer)) holds &= value == sum * static_cast<float>(layer + 1);
    }
    return holds;
  }

  inlay_test::AlignedBytes memory;
  inlay::SequenceCache cache;
};

BOOST_AUTO_TEST_CASE(states_and_keys_share_the_memory) {
  StateCache c;
  // Layers 1 and 3 attend, 0, 2 and 4 keep states.
  BOOST_TEST(c.cache.layer(3).data == c.cache.layer(1).data + 2 * 2 * c.cache.layer(1).key_bytes);
  std::set<const float*> starts;
  for (const std::size_t layer : {0, 2, 4}) {
    BOOST_TEST(c.cache.state(layer).size() == 33u);
    starts.insert(c.cache.state(layer).data());
    starts.insert(c.cache.next_state(layer).data());
  }
  BOOST_TEST(starts.size() == 6u);
  for (const float* start : starts) {
    BOOST_TEST(reinterpret_cast<const std::byte*>(start) >= c.cache.layer(3).data + 2 * 2 * c.cache.layer(1).key_bytes);
    BOOST_TEST(reinterpret_cast<const std::byte*>(start + 33) <= c.memory.data() + c.memory.size());
  }
}

BOOST_AUTO_TEST_CASE(states_begin_at_zero_and_advance) {
  StateCache c;
  BOOST_TEST(c.Holds(0.0f));
  c.Pass(3, 1.0f);
  BOOST_TEST(c.Holds(1.0f));
  c.Fill(100.0f);  // a pass that fails changes nothing
  BOOST_TEST(c.Holds(1.0f));
  c.Pass(2, 2.0f);
  BOOST_TEST(c.Holds(3.0f));
  BOOST_TEST(c.cache.length() == 5u);
}

BOOST_AUTO_TEST_CASE(states_go_back_to_what_was_saved) {
  StateCache c;
  c.Pass(3, 1.0f);
  c.cache.Save();
  c.Pass(4, 2.0f);
  c.Pass(1, 4.0f);
  BOOST_TEST(c.cache.Truncate(8) == 8u);  // nothing to forget
  BOOST_TEST(c.Holds(7.0f));
  BOOST_TEST(c.cache.Truncate(5) == 3u);
  BOOST_TEST(c.Holds(1.0f));
  // Again from there, and again back.
  c.Pass(9, 8.0f);
  BOOST_TEST(c.Holds(9.0f));
  BOOST_TEST(c.cache.Truncate(3) == 3u);
  BOOST_TEST(c.Holds(1.0f));
  c.Pass(1, 1.0f);
  BOOST_TEST(c.cache.Truncate(2) == 0u);
  BOOST_TEST(c.Holds(0.0f));
  // What was saved lies beyond the length now: it is gone.
  c.Pass(10, 5.0f);
  BOOST_TEST(c.cache.Truncate(9) == 0u);
  BOOST_TEST(c.Holds(0.0f));
}

BOOST_AUTO_TEST_CASE(belongs_to_a_shape) {
  inlay::MemoryCounter counter;
  const inlay::SequenceCache cache = *inlay::SequenceCache::Create(counter, kConfig, KvType::kF16, 100);
  BOOST_TEST(cache.IsFor(kConfig));
  for (const auto field : {&inlay::ModelConfig::layers, &inlay::ModelConfig::kv_heads, &inlay::ModelConfig::head_dim}) {
    inlay::ModelConfig other = kConfig;
    other.*field *= 2;
    BOOST_TEST(!cache.IsFor(other));
  }
}

BOOST_AUTO_TEST_CASE(too_little_memory) {
  inlay_test::AlignedBytes memory(1000);
  inlay::Arena arena = *inlay::Arena::Create(memory);
  const auto cache = inlay::SequenceCache::Create(arena, kConfig, KvType::kF16, 100);
  BOOST_REQUIRE(!cache);
  BOOST_TEST((cache.error().code == inlay::ErrorCode::kOutOfMemory));
  BOOST_TEST(arena.used() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
