// Any bytes, once as a checkpoint and once as a tokenizer: an error, or views that stay inside.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/llama2c.hpp"
#include "tests/support/touch.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A checkpoint's floats are read in place: it has to be aligned, and to end where its memory ends.
  auto memory = inlay::OwnedBuffer::Create(size);
  if (!memory) return 0;
  if (size != 0) std::memcpy(memory->bytes().data(), data, size);
  const std::span<const std::byte> file = memory->bytes();
  if (const auto checkpoint = inlay::Llama2cCheckpoint::Open(file)) {
    if (inlay_test::Touch(*checkpoint) == ~std::uint64_t{0}) __builtin_trap();
  } else if (checkpoint.error().field.empty()) {
    __builtin_trap();
  }
  // The vocabulary size comes from elsewhere: here from the first byte.
  const std::size_t vocab = size == 0 ? 1 : std::size_t{data[0]} + 1;
  if (const auto tokenizer = inlay::Llama2cTokenizer::Open(file, vocab)) {
    if (inlay_test::Touch(*tokenizer) == ~std::uint64_t{0}) __builtin_trap();
  } else if (tokenizer.error().field.empty()) {
    __builtin_trap();
  }
  return 0;
}
