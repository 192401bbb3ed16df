// Any bytes: as a low-rank adapter and as a control vector of a small model. An error, or changes whose every value can be
// read, in exactly the memory that was promised.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/weights/adapter.hpp"
#include "tests/support/lora.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/touch.hpp"

namespace {

constexpr inlay::ModelConfig kConfig{.dim = 4, .layers = 2, .heads = 2, .kv_heads = 1, .head_dim = 2, .ffn_dim = 6,
                                     .vocab = 3, .context = 4, .rope_dim = 2, .experts = 2, .experts_per_token = 1,
                                     .expert = {.leading_dense = 1}};

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

void TryLora(const inlay::GgufFile& file) {
  const auto bytes = inlay::LoraAdapter::MemoryBytes(kConfig, file);
  if (!bytes && bytes.error().code != inlay::ErrorCode::kNonFinite) return Require(!bytes.error().field.empty());
  inlay_test::AlignedBytes memory(bytes.value_or(0));
  inlay::Arena arena = *inlay::Arena::Create(memory);
  const auto adapter = inlay::LoraAdapter::Create(kConfig, file, arena);
  if (!adapter) return Require(!adapter.error().field.empty() && (bytes || adapter.error().code == bytes.error().code));
  Require(arena.remaining() == 0 && adapter->IsFor(kConfig));
  std::uint64_t sum = 0;
  for (std::size_t layer = 0; layer < kConfig.layers; ++layer) {
    for (const inlay::TensorRole role : inlay::kAdaptedRoles) {
      const inlay::LowRankChange& change = adapter->change(role, layer);
      if (change.down == nullptr) continue;
      const inlay::TensorShape shape = inlay::ShapeOf(kConfig, {role, static_cast<std::uint32_t>(layer)});
      const bool table = role == inlay::TensorRole::kTokenEmbedding;
      const std::size_t matrices = change.down_step == 0 ? 1 : shape.count;
      sum += inlay_test::Touch(std::span(change.down, matrices * change.rank * (table ? shape.rows : shape.cols)));
      sum += inlay_test::Touch(std::span(change.up, shape.count * change.rank * (table ? shape.cols : shape.rows)));
      Require(change.rank != 0 && change.rank <= adapter->rank());
    }
  }
  Require(sum != ~std::uint64_t{0});
}

void TryControlVector(const inlay::GgufFile& file) {
  const auto vector = inlay::ControlVector::Open(kConfig, file);
  if (!vector) return Require(!vector.error().field.empty());
  std::uint64_t sum = 0;
  for (std::size_t layer = 0; layer < kConfig.layers; ++layer) {
    if (const float* direction = vector->direction(layer)) sum += inlay_test::Touch(std::span(direction, kConfig.dim));
  }
  Require(sum != ~std::uint64_t{0});
}

const inlay_test::AlignedBytes& Seed(bool lora) {
  using namespace inlay_test;
  static const AlignedBytes lora_file =
      WriteGguf(RandomLora({{"blk.0.attn_q.weight", 4, 4}, {"blk.0.ffn_down.weight", 4, 6}, {"blk.1.ffn_down_exps.weight", 4, 6, 2},
                            {"token_embd.weight", 3, 4}}, 2, 4.0f, 1));
  static const AlignedBytes control_file = [] {
    FileContents contents;
    contents.Set("general.architecture", std::string("controlvector"));
    contents.tensors.push_back(FloatTensor("direction.1", {4}, {1, 2, 3, 4}));
    return WriteGguf(contents);
  }();
  return lora ? lora_file : control_file;
}

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

// Now and then starts again from a whole file: from nothing, a fuzzer would never find a pair of tensors.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  const inlay_test::AlignedBytes& file = Seed(seed % 3 != 0);
  if (seed % 16 < 6 && file.size() <= max_size) {
    size = file.size();
    std::memcpy(data, file.data(), size);
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  inlay_test::AlignedBytes bytes(size);
  if (size != 0) std::memcpy(bytes.data(), data, size);
  inlay_test::AlignedBytes index(inlay::GgufFile::IndexBytes(bytes));
  inlay::Arena arena = *inlay::Arena::Create(index);
  const auto file = inlay::GgufFile::Open(bytes, arena);
  if (!file) return 0;
  TryLora(*file);
  TryControlVector(*file);
  return 0;
}
