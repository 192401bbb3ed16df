// A GGUF file in memory with its matrices in another weight type: quantised variants of one real model.
#ifndef INLAY_TESTS_SUPPORT_REQUANTISE_HPP_
#define INLAY_TESTS_SUPPORT_REQUANTISE_HPP_

#include <cstddef>
#include <span>
#include <vector>

#include "inlay/files/gguf.hpp"
#include "inlay/files/gguf_writer.hpp"
#include "inlay/formats/codec.hpp"
#include "tests/support/test_model.hpp"

namespace inlay_test {

// Every matrix of `plain` decoded and encoded as `type`; vectors stay as they are. Alignment is the default.
inline AlignedBytes Requantise(const AlignedBytes& plain, inlay::WeightType type) {
  AlignedBytes index(inlay::GgufFile::IndexBytes(plain));
  inlay::Arena arena = Value(inlay::Arena::Create(index));
  const inlay::GgufFile file = Value(inlay::GgufFile::Open(plain, arena));
  std::vector<inlay::GgufTensorEntry> entries;
  for (std::size_t i = 0; i < file.tensor_count(); ++i) {
    const inlay::GgufTensor tensor = file.tensor(i);
    const inlay::WeightType to = tensor.rows() == 1 ? tensor.type->type : type;
    entries.push_back(inlay::GgufTensorEntry::Matrix(tensor.name, to, static_cast<std::size_t>(tensor.rows()),
                                                     static_cast<std::size_t>(tensor.cols())));
  }
  AlignedBytes out;
  auto sink = [&](std::span<const std::byte> bytes) -> inlay::Result<void> {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return {};
  };
  inlay::GgufWriter writer = Value(inlay::GgufWriter::Begin(sink, inlay::CopiedMetadataCount(file), entries));
  Value(inlay::CopyMetadata(file, writer));
  Value(writer.EndMetadata());
  for (std::size_t i = 0; i < file.tensor_count(); ++i) {
    const inlay::GgufTensor tensor = file.tensor(i);
    const std::size_t cols = static_cast<std::size_t>(tensor.cols());
    const inlay::WeightType from = tensor.type->type;
    const inlay::WeightType to = tensor.rows() == 1 ? from : type;
    std::vector<float> values(cols);
    std::vector<std::byte> row(inlay::RowBytes(to, cols));
    for (std::size_t r = 0; r < tensor.rows(); ++r) {
      inlay::DecodeRow(from, tensor.data.data() + r * inlay::RowBytes(from, cols), cols, values.data());
      inlay::EncodeRow(to, values.data(), cols, row.data());
      Value(writer.Append(row));
    }
  }
  Value(writer.Finish());
  return out;
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_REQUANTISE_HPP_
