// The command merge: a model with a low-rank adapter worked into its weights, as a new GGUF file. Rows are decoded, changed and
// encoded again piece by piece, so memory does not grow with the model.
#include <Eigen/Core>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "commands.hpp"
#include "common.hpp"
#include "inlay/core/thread_pool.hpp"
#include "inlay/files/gguf_writer.hpp"
#include "inlay/files/lora_file.hpp"
#include "inlay/formats/codec.hpp"
#include "inlay/host/mapped_gguf.hpp"
#include "inlay/weights/config_keys.hpp"
#include "inlay/weights/packed_file.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::GgufTensor;
using inlay::Result;

namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Matrix `plane` of a tensor.
Matrix Decoded(const GgufTensor& tensor, std::size_t plane) {
  Matrix values(static_cast<Eigen::Index>(tensor.dims[1]), static_cast<Eigen::Index>(tensor.cols()));
  const std::size_t row_bytes = inlay::RowBytes(tensor.type->type, static_cast<std::size_t>(tensor.cols()));
  const std::byte* row = tensor.data.data() + plane * static_cast<std::size_t>(tensor.dims[1]) * row_bytes;
  for (Eigen::Index r = 0; r < values.rows(); ++r, row += row_bytes) {
    inlay::DecodeRow(tensor.type->type, row, static_cast<std::size_t>(tensor.cols()), values.row(r).data());
  }
  return values;
}

Result<void> CheckTarget(const inlay::LoraPair& pair, const std::optional<GgufTensor>& target) {
  const inlay::TextBuffer<96> field("tensor ", pair.base);
  if (!target) return Fail(ErrorCode::kMismatch, field.view(), "is changed by the adapter, but the model has no such tensor");
  if (target->type == nullptr || !target->type->multiplies) {
    return Fail(ErrorCode::kUnsupported, field.view(), "is of a type that cannot be encoded");
  }
  if (pair.cols != target->cols() || pair.rows != target->dims[1] || pair.count != target->dims[2] || target->dims[3] != 1) {
    return Fail(ErrorCode::kMismatch, field.view(), "is [", target->dims[0], ", ", target->dims[1], ", ", target->dims[2],
                "], the adapter is for [", pair.cols, ", ", pair.rows, ", ", pair.count, "]");
  }
  return {};
}

// The rows of one matrix of `target` with the adapter's part b * a added, appended to the file.
Result<void> WriteMatrix(const GgufTensor& target, std::size_t plane, const Matrix& a, const Matrix& b,
                         inlay::ThreadPool& threads, inlay::GgufWriter& writer) {
  const std::size_t rows = static_cast<std::size_t>(target.dims[1]), cols = static_cast<std::size_t>(target.cols());
  const std::size_t row_bytes = inlay::RowBytes(target.type->type, cols);
  const std::size_t rows_at_once = std::max<std::size_t>(16, (std::size_t{8} << 20) / (cols * sizeof(float)));
  std::vector<std::byte> piece;
  Matrix values;
  for (std::size_t begin = 0; begin < rows; begin += rows_at_once) {
    const std::size_t count = std::min(rows_at_once, rows - begin);
    const Eigen::Index first = static_cast<Eigen::Index>(begin), size = static_cast<Eigen::Index>(count);
    values.noalias() = b.middleRows(first, size) * a;
    piece.resize(count * row_bytes);
    threads.Run(count, [&](std::size_t r) {
      std::vector<float> row(cols);
      inlay::DecodeRow(target.type->type, target.data.data() + (plane * rows + begin + r) * row_bytes, cols, row.data());
      const float* const change = values.row(static_cast<Eigen::Index>(r)).data();
      for (std::size_t c = 0; c < cols; ++c) row[c] += change[c];
      inlay::EncodeRow(target.type->type, row.data(), cols, piece.data() + r * row_bytes);
    });
    INLAY_CHECK_OK(writer.Append(piece));
  }
  return {};
}

Result<void> WriteChanged(const GgufTensor& target, const inlay::LoraPair& pair, float scale, inlay::ThreadPool& threads,
                          inlay::GgufWriter& writer) {
  for (std::size_t plane = 0; plane < pair.count; ++plane) {
    Matrix a = Decoded(pair.a, pair.a.dims[2] == 1 ? 0 : plane), b = Decoded(pair.b, plane);
    if (pair.table) {
      a.swap(b);
      a.transposeInPlace();
    }
    b *= scale;
    INLAY_CHECK_OK(WriteMatrix(target, plane, a, b, threads, writer));
  }
  return {};
}

// Whether the model's logits are products with its table of embeddings, which the adapter changes. Such an adapter was trained
// for the embeddings alone: the output matrix becomes a tensor of its own, which is what the table was.
Result<bool> NeedsOwnOutput(const inlay::GgufFile& model, const inlay::LoraFile& adapter) {
  if (!adapter.Find("token_embd.weight") || model.FindTensor("output.weight")) return false;
  INLAY_ASSIGN_OR_RETURN(const inlay::ModelConfig config, inlay::ReadConfig(model));
  return config.logits && config.tied_embeddings;
}

}  // namespace

Result<void> Merge(const MergeOptions& options) {
  if (!inlay::IsFinite(options.scale)) return Fail(ErrorCode::kInvalidArgument, "--scale", "must be a finite number");
  INLAY_ASSIGN_OR_RETURN(const inlay::MappedGguf model_file, inlay::MappedGguf::Open(options.model.c_str()));
  INLAY_ASSIGN_OR_RETURN(const inlay::MappedGguf adapter_file, inlay::MappedGguf::Open(options.adapter.c_str()));
  const inlay::GgufFile& model = *model_file.file();
  if (inlay::PackedFile::IsPacked(model)) {
    return Fail(ErrorCode::kUnsupported, options.model, "is packed; merge into the file that it was made from");
  }
  INLAY_ASSIGN_OR_RETURN(const inlay::LoraFile adapter, inlay::LoraFile::Open(*adapter_file.file()));
  INLAY_ASSIGN_OR_RETURN(const std::string_view architecture, model.GetString("general.architecture"));
  if (adapter.architecture() != architecture) {
    return Fail(ErrorCode::kMismatch, "general.architecture", "the adapter is for \"", adapter.architecture(), "\", the model is \"",
                architecture, "\"");
  }
  INLAY_CHECK_OK(adapter.ForPairs([&](const inlay::LoraPair& pair) { return CheckTarget(pair, model.FindTensor(pair.base)); }));

  INLAY_ASSIGN_OR_RETURN(const bool own_output, NeedsOwnOutput(model, adapter));
  std::vector<inlay::GgufTensorEntry> entries;
  for (std::size_t i = 0; i < model.tensor_count(); ++i) {
    const GgufTensor tensor = model.tensor(i);
    if (tensor.type == nullptr) return Fail(ErrorCode::kUnsupported, tensor.name, "is of a type whose size is not known");
    entries.push_back({tensor.name, tensor.type_id, tensor.n_dims, tensor.dims, tensor.data.size()});
  }
  const std::optional<GgufTensor> table = own_output ? model.FindTensor("token_embd.weight") : std::nullopt;
  if (table) entries.push_back({"output.weight", table->type_id, table->n_dims, table->dims, table->data.size()});
  inlay::ThreadPool threads(ThreadCount(options.threads));
  INLAY_ASSIGN_OR_RETURN(OutputFile output, OutputFile::Create(options.output));
  const auto sink = [&](std::span<const std::byte> bytes) { return output.Write(bytes); };
  INLAY_ASSIGN_OR_RETURN(inlay::GgufWriter writer, inlay::GgufWriter::Begin(sink, inlay::CopiedMetadataCount(model), entries));
  INLAY_CHECK_OK(inlay::CopyMetadata(model, writer));
  INLAY_CHECK_OK(writer.EndMetadata());
  Progress progress("merging");
  for (std::size_t i = 0; i < model.tensor_count(); ++i) {
    const GgufTensor tensor = model.tensor(i);
    const std::optional<inlay::LoraPair> pair = adapter.Find(tensor.name);
    if (pair) {
      const float scale = options.scale * adapter.Scale(pair->rank);
      INLAY_CHECK_OK(WriteChanged(tensor, *pair, scale, threads, writer));
    } else {
      INLAY_CHECK_OK(writer.Append(tensor.data));
    }
    if (!progress(i + 1, model.tensor_count())) return Fail(ErrorCode::kCancelled, options.output, "interrupted");
  }
  if (table) INLAY_CHECK_OK(writer.Append(table->data));
  INLAY_CHECK_OK(writer.Finish());
  return output.Commit();
}

}  // namespace cli
