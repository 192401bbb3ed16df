// Any bytes: GgufFile::Open gives an error or a file whose every view stays inside, in an index no larger than promised.
#include <cstddef>
#include <cstdint>
#include <span>

#include "inlay/core/arena.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/gguf.hpp"
#include "tests/support/touch.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  const std::size_t index_bytes = inlay::GgufFile::IndexBytes(file);
  if (index_bytes > size + 256) __builtin_trap();
  auto memory = inlay::OwnedBuffer::Create(index_bytes);
  if (!memory) return 0;
  inlay::Arena arena = *inlay::Arena::Create(memory->bytes());
  const auto opened = inlay::GgufFile::Open(file, arena);
  if (opened) {
    std::uint64_t sum = 0;
    if (!inlay_test::Touch(*opened, sum)) __builtin_trap();
  } else if (opened.error().code == inlay::ErrorCode::kOutOfMemory || opened.error().field.empty()) {
    __builtin_trap();  // IndexBytes was too small, or an error does not say where
  }
  return 0;
}
