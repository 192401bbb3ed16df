// Reads every byte that an opened file offers, the way its users do: what tests of broken files and fuzz targets do
// after a successful Open, so that a sanitizer sees any view that reaches outside.
#ifndef INLAY_TESTS_SUPPORT_TOUCH_HPP_
#define INLAY_TESTS_SUPPORT_TOUCH_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "inlay/files/gguf.hpp"
#include "inlay/files/llama2c.hpp"
#include "inlay/files/safetensors.hpp"

namespace inlay_test {

inline std::uint64_t Touch(std::span<const std::byte> bytes) {
  std::uint64_t sum = 0;
  for (const std::byte b : bytes) sum += static_cast<std::uint64_t>(b);
  return sum;
}
inline std::uint64_t Touch(std::string_view text) { return Touch(std::as_bytes(std::span(text.data(), text.size()))); }
inline std::uint64_t Touch(std::span<const float> floats) { return Touch(std::as_bytes(floats)); }

// Returns false when two ways to the same thing disagree.
inline bool Touch(const inlay::GgufFile& file, std::uint64_t& sum) {
  bool agree = true;
  for (std::size_t i = 0; i < file.metadata_count(); ++i) {
    const inlay::GgufValue value = file.metadata(i);
    sum += Touch(value.key) + Touch(value.encoded);
    const auto found = file.Find(value.key);
    agree = agree && found && found->offset == value.offset;
    if (const auto number = file.GetUnsigned(value.key)) sum += *number;
    if (const auto number = file.GetFloat(value.key)) sum += *number > 0 ? 1 : 0;
    if (const auto flag = file.GetBool(value.key)) sum += *flag ? 1 : 0;
    if (const auto text = file.GetString(value.key)) sum += Touch(*text);
    if (const auto array = value.AsArray()) {
      sum += Touch(array->bytes);
      if (array->element == inlay::GgufType::kString) {
        std::uint64_t strings = 0;
        for (const std::string_view text : array->strings()) {
          sum += Touch(text);
          ++strings;
        }
        agree = agree && strings == array->count;
      } else {
        agree = agree && array->bytes.size() == array->count * inlay::FixedSize(array->element);
      }
    }
  }
  for (std::size_t i = 0; i < file.tensor_count(); ++i) {
    const inlay::GgufTensor tensor = file.tensor(i);
    sum += Touch(tensor.name) + Touch(tensor.data);
    const auto found = file.FindTensor(tensor.name);
    agree = agree && found && found->record == tensor.record && tensor.rows() != 0;
  }
  sum += file.CheckFinite() ? 1 : 0;
  return agree;
}

// Returns false when two ways to the same thing disagree.
inline bool Touch(const inlay::SafetensorsFile& file, std::uint64_t& sum) {
  bool agree = true;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < file.tensor_count(); ++i) {
    const inlay::SafetensorsTensor tensor = file.tensor(i);
    sum += Touch(tensor.name) + Touch(tensor.type_name) + Touch(tensor.data);
    bytes += tensor.data.size();
    const auto found = file.FindTensor(tensor.name);
    agree = agree && found && found->record == tensor.record && found->data.data() == tensor.data.data();
  }
  return agree && file.data_offset() + bytes == file.bytes().size();
}

inline std::uint64_t Touch(const inlay::Llama2cMatrix& matrix) {
  return Touch(matrix.values) + Touch(std::as_bytes(matrix.levels)) + Touch(matrix.scales);
}

inline std::uint64_t Touch(const inlay::Llama2cCheckpoint& checkpoint) {
  std::uint64_t sum =
      Touch(checkpoint.token_embedding()) + Touch(checkpoint.final_norm()) + Touch(checkpoint.classifier());
  for (std::size_t l = 0; l < checkpoint.dims().layers; ++l) {
    sum += Touch(checkpoint.attention_norm(l)) + Touch(checkpoint.ffn_norm(l));
    for (const inlay::Llama2cMatrix& matrix : {checkpoint.wq(l), checkpoint.wk(l), checkpoint.wv(l), checkpoint.wo(l),
                                               checkpoint.w1(l), checkpoint.w2(l), checkpoint.w3(l)}) {
      sum += Touch(matrix);
    }
  }
  return sum;
}

inline std::uint64_t Touch(const inlay::Llama2cTokenizer& tokenizer) {
  std::uint64_t sum = 0;
  for (const inlay::Llama2cPiece piece : tokenizer) sum += Touch(piece.text) + (piece.score > 0 ? 1 : 0);
  return sum;
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_TOUCH_HPP_
