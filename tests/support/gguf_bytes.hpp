// Puts GGUF files together byte by byte, so that tests can write what no writer would.
#ifndef INLAY_TESTS_SUPPORT_GGUF_BYTES_HPP_
#define INLAY_TESTS_SUPPORT_GGUF_BYTES_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "inlay/files/gguf.hpp"

namespace inlay_test {

class Bytes {
 public:
  template <class T>
  Bytes& Number(T value) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + sizeof(T));
    std::memcpy(bytes_.data() + at, &value, sizeof(T));
    return *this;
  }
  Bytes& U8(std::uint8_t value) { return Number(value); }
  Bytes& U32(std::uint32_t value) { return Number(value); }
  Bytes& U64(std::uint64_t value) { return Number(value); }
  Bytes& F32(float value) { return Number(value); }
  Bytes& Raw(std::string_view text) {
    for (const char c : text) bytes_.push_back(static_cast<std::byte>(c));
    return *this;
  }
  Bytes& String(std::string_view text) { return U64(text.size()).Raw(text); }
  Bytes& Type(inlay::GgufType type) { return U32(static_cast<std::uint32_t>(type)); }
  // The start of a metadata entry; its value follows.
  Bytes& Key(std::string_view key, inlay::GgufType type) { return String(key).Type(type); }
  Bytes& Header(std::uint64_t tensors, std::uint64_t values, std::uint32_t version = 3) {
    return Raw("GGUF").U32(version).U64(tensors).U64(values);
  }
  Bytes& Tensor(std::string_view name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
                std::uint64_t offset) {
    String(name).U32(static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t dim : dims) U64(dim);
    return U32(type).U64(offset);
  }
  Bytes& Zeros(std::size_t count) {
    bytes_.resize(bytes_.size() + count);
    return *this;
  }
  Bytes& PadTo(std::size_t alignment) {
    while (bytes_.size() % alignment != 0) bytes_.push_back(std::byte{0});
    return *this;
  }

  std::size_t size() const { return bytes_.size(); }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  std::span<const std::byte> span() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_GGUF_BYTES_HPP_
