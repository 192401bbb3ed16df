// Any bytes: SafetensorsFile::Open gives an error or a file whose every view stays inside, in an index no larger than
// promised. The JSON reader alone meets the same bytes.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "inlay/core/arena.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/json_reader.hpp"
#include "inlay/files/safetensors.hpp"
#include "tests/support/touch.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

// Keeps the length true most of the time, so that the header behind it is what is tried.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  constexpr std::string_view kSeed =
      R"({"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[1,2],"data_offsets":[1,9]},"b":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})";
  if (seed % 16 == 0 && kSeed.size() + 17 <= max_size) {
    size = kSeed.size() + 17;
    std::memset(data, 0, size);
    std::memcpy(data + 8, kSeed.data(), kSeed.size());
  }
  size = LLVMFuzzerMutate(data, size, max_size);
  if (size >= 8 && seed % 8 != 1) {
    // The header ends with the last brace.
    std::uint64_t end = size;
    while (end > 8 && data[end - 1] != '}') --end;
    const std::uint64_t length = end - 8;
    std::memcpy(data, &length, sizeof(length));
  }
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  const std::size_t index_bytes = inlay::SafetensorsFile::IndexBytes(file);
  if (index_bytes > size + 256) __builtin_trap();
  auto memory = inlay::OwnedBuffer::Create(index_bytes);
  if (!memory) return 0;
  inlay::Arena arena = *inlay::Arena::Create(memory->bytes());
  const auto opened = inlay::SafetensorsFile::Open(file, arena);
  if (opened) {
    std::uint64_t sum = 0;
    if (!inlay_test::Touch(*opened, sum)) __builtin_trap();
  } else if (opened.error().code == inlay::ErrorCode::kOutOfMemory || opened.error().field.empty()) {
    __builtin_trap();
  }
  inlay::JsonReader reader({reinterpret_cast<const char*>(data), size});
  std::size_t steps = 0;
  for (;;) {
    const auto token = reader.Next();
    if (!token || token->event == inlay::JsonEvent::kEnd) break;
    if (++steps > size || token->offset + token->text.size() > size) __builtin_trap();
  }
  return 0;
}
