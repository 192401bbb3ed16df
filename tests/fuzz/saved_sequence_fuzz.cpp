// Any bytes, also with a header and a digest that fit: RestoreSequence gives an error and leaves the cache as it was, or a cache
// that is saved as the same bytes.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "inlay/core/arena.hpp"
#include "inlay/files/sha256.hpp"
#include "inlay/layers/sequence_cache.hpp"
#include "inlay/model/saved_sequence.hpp"

namespace {

// Layers that attend, and one that keeps a state.
constexpr inlay::ModelConfig kConfig = [] {
  inlay::ModelConfig config{.dim = 12, .layers = 3, .heads = 2, .kv_heads = 2, .head_dim = 6, .ffn_dim = 8, .vocab = 9,
                            .context = 40, .rope_dim = 6};
  config.state.kind = inlay::StateKind::kConvolution;
  config.state.kernel = 3;
  config.state.layers = {.period = 3};
  config.state.layers.Add(1);
  return config;
}();

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const inlay::KvType type = static_cast<inlay::KvType>(data[0] % 4);
  const inlay::ModelIdentity identity{};
  const std::span<const std::byte> input = std::as_bytes(std::span(data, size)).subspan(1);
  std::vector<std::byte> saved(input.begin(), input.end());
  constexpr std::size_t kLeast = sizeof(inlay::detail::SavedSequenceHeader) + sizeof(inlay::Sha256Digest);
  if ((data[0] & 4) != 0 && saved.size() >= kLeast) {
    // What somebody writes on purpose: the positions and logits are those of the input, the rest fits.
    inlay::detail::SavedSequenceHeader header;
    std::memcpy(&header, saved.data(), sizeof(header));
    inlay::detail::kSavedSequenceMagic.copy(header.magic, sizeof(header.magic));
    header.version = inlay::detail::kSavedSequenceVersion;
    header.kv = static_cast<std::uint32_t>(type);
    header.identity = identity;
    if ((data[0] & 8) != 0) {
      header.positions %= 41;
      header.logits = header.logits % 2 * kConfig.vocab;
      saved.resize(inlay::SavedSequenceBytes(kConfig, type, header.positions, header.logits));
    }
    header.bytes = saved.size();
    std::memcpy(saved.data(), &header, sizeof(header));
    const std::size_t body = saved.size() - sizeof(inlay::Sha256Digest);
    const inlay::Sha256Digest digest = inlay::Sha256::Of(std::span(saved).first(body));
    std::memcpy(saved.data() + body, digest.data(), digest.size());
  }
  alignas(inlay::kAlignment) static std::array<std::byte, 1 << 17> memory;
  inlay::Arena arena = *inlay::Arena::Create(memory);
  auto cache = inlay::SequenceCache::Create(arena, kConfig, type, 40);
  if (!cache) __builtin_trap();
  std::array<float, kConfig.vocab> logits{};
  cache->Advance(5);
  const auto count = inlay::RestoreSequence(kConfig, identity, saved, *cache, logits);
  if (!count) {
    if (count.error().field.empty() || cache->length() != 5) __builtin_trap();
    return 0;
  }
  std::vector<std::byte> again(saved.size());
  const auto bytes = inlay::SaveSequence(kConfig, identity, *cache, std::span(logits).first(*count), again);
  if (!bytes || *bytes != saved.size() || again != saved) __builtin_trap();
  return 0;
}
