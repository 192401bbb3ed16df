#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <set>

#include "inlay/core/arena.hpp"
#include "inlay/layers/kv_cache.hpp"
#include "tests/support/random_model.hpp"

namespace {

using inlay::KvType;

constexpr inlay::ModelConfig kConfig{.dim = 8, .layers = 3, .heads = 4, .kv_heads = 2, .head_dim = 6, .ffn_dim = 8,
                                     .vocab = 5, .context = 100, .rope_dim = 6};

BOOST_AUTO_TEST_SUITE(layers_kv_cache)

// Keys and values of all layers and heads lie side by side and fill the memory.
BOOST_AUTO_TEST_CASE(layout) {
  for (const KvType type : inlay::AllKvTypes::kList) {
    inlay::MemoryCounter counter;
    BOOST_REQUIRE(inlay::KvCache::Create(counter, kConfig, type, 100));
    inlay_test::AlignedBytes memory(counter.used());
    inlay::Arena arena = *inlay::Arena::Create(memory);
    const auto cache = inlay::KvCache::Create(arena, kConfig, type, 100);
    BOOST_REQUIRE(cache);
    BOOST_TEST(arena.used() == counter.used());
    std::set<const std::byte*> starts;
    for (std::size_t l = 0; l < kConfig.layers; ++l) {
      const inlay::KvLayer layer = cache->layer(l);
      BOOST_TEST(layer.capacity == 128u);
      BOOST_TEST(layer.head_bytes == inlay::KvHeadBytes(type, 6, 128));
      BOOST_TEST((layer.type == type));
      for (std::size_t h = 0; h < kConfig.kv_heads; ++h) {
        starts.insert(layer.keys(h));
        starts.insert(layer.values(h));
      }
    }
    const std::size_t head_bytes = inlay::KvHeadBytes(type, 6, 128);
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
  inlay::KvCache cache = *inlay::KvCache::Create(counter, kConfig, KvType::kF16, 100);
  BOOST_TEST(cache.context() == 100u);
  BOOST_TEST(cache.remaining() == 100u);
  cache.Advance(70);
  BOOST_TEST(cache.length() == 70u);
  BOOST_TEST(cache.remaining() == 30u);
  cache.Truncate(71);
  BOOST_TEST(cache.length() == 70u);
  cache.Truncate(3);
  BOOST_TEST(cache.length() == 3u);
}

BOOST_AUTO_TEST_CASE(belongs_to_a_shape) {
  inlay::MemoryCounter counter;
  const inlay::KvCache cache = *inlay::KvCache::Create(counter, kConfig, KvType::kF16, 100);
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
  const auto cache = inlay::KvCache::Create(arena, kConfig, KvType::kF16, 100);
  BOOST_REQUIRE(!cache);
  BOOST_TEST((cache.error().code == inlay::ErrorCode::kOutOfMemory));
  BOOST_TEST(arena.used() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
