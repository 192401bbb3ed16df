// Any bytes: as a packed file, and as a plain one up to bound and packed weights. An error, or weights whose every byte can
// be read. The seed corpus is made by the fuzzer itself from a small model, see LLVMFuzzerCustomMutator.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/weights/packed_file.hpp"
#include "tests/support/packed_model.hpp"
#include "tests/support/random_model.hpp"

namespace {

inlay::Result<void> Run(std::span<const std::byte> bytes) {
  INLAY_ASSIGN_OR_RETURN(inlay::OwnedBuffer index, inlay::OwnedBuffer::Create(inlay::GgufFile::IndexBytes(bytes)));
  INLAY_ASSIGN_OR_RETURN(inlay::Arena arena, inlay::Arena::Create(index.bytes()));
  INLAY_ASSIGN_OR_RETURN(const inlay::GgufFile file, inlay::GgufFile::Open(bytes, arena));
  if (inlay::PackedFile::IsPacked(file)) {
    INLAY_ASSIGN_OR_RETURN(const inlay::PackedFile packed, inlay::PackedFile::Open(file));
    (void)packed.Verify().has_value();
    return inlay_test::BindAndTouch(packed.config(), packed.types(), packed.weights());
  }
  INLAY_ASSIGN_OR_RETURN(const inlay::ModelConfig config, inlay::ReadConfig(file));
  std::vector<inlay::SourceTensor> sources(inlay::TensorCount(config));
  INLAY_CHECK_OK(inlay::BindSource(config, file, sources));
  std::vector<inlay::WeightType> types(sources.size());
  inlay::ListTypes(sources, types);
  // Packing pads matrices to 16 rows: never more than 16 times the file, plus the padding of each tensor.
  const std::size_t needed = inlay::PackedWeightsBytes(config, types);
  if (needed > 16 * bytes.size() + 64 * inlay::TensorCount(config)) __builtin_trap();
  INLAY_ASSIGN_OR_RETURN(inlay::OwnedBuffer packed, inlay::OwnedBuffer::Create(needed));
  inlay::SerialExecutor serial;
  INLAY_CHECK_OK(inlay::PackWeights(config, sources, true, packed.bytes(), serial,
                                    [](std::size_t, std::size_t) { return true; }));
  return inlay_test::BindAndTouch(config, types, packed.bytes());
}

const inlay_test::AlignedBytes& Seed(bool packed) {
  constexpr inlay::ModelConfig kConfig{.dim = 2, .layers = 1, .heads = 1, .kv_heads = 1, .head_dim = 2, .ffn_dim = 2,
                                       .vocab = 2, .context = 4, .rope_dim = 2};
  static const inlay_test::AlignedBytes plain_file = inlay_test::WriteGguf(inlay_test::RandomModel({.config = kConfig}));
  static const inlay_test::AlignedBytes packed_file = inlay_test::PackFile(plain_file);
  return packed ? packed_file : plain_file;
}

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

// Now and then starts again from a whole file: from nothing, a fuzzer would never find all the tensors of a model.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  const inlay_test::AlignedBytes& file = Seed(seed % 2 == 0);
  if (seed % 16 < 4 && file.size() <= max_size) {
    size = file.size();
    std::memcpy(data, file.data(), size);
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto memory = inlay::OwnedBuffer::Create(size);
  if (!memory) return 0;
  if (size != 0) std::memcpy(memory->bytes().data(), data, size);
  const inlay::Result<void> result = Run(memory->bytes());
  if (!result && result.error().field.empty()) __builtin_trap();  // an error that does not say where
  return 0;
}
