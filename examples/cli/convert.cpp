// The command convert: a folder of Hugging Face's as one GGUF file. Tensors are read where they are mapped and written piece by
// piece, so memory does not grow with the model.
#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "common.hpp"
#include "hf_folder.hpp"
#include "inlay/core/thread_pool.hpp"
#include "inlay/files/gguf_writer.hpp"
#include "inlay/formats/codec.hpp"
#include "inlay/formats/float16.hpp"
#include "inlay/weights/recipes.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::Result;
using inlay::SafetensorsTensor;
using inlay::SafetensorsType;
using inlay::WeightType;

namespace {

template <class T>
T LoadAt(const SafetensorsTensor& tensor, std::size_t i) {
  T value;
  std::memcpy(&value, tensor.data.data() + i * sizeof(T), sizeof(T));
  return value;
}

// Values of a tensor as float32: from `first`, each `step` further.
void ReadValues(const SafetensorsTensor& tensor, std::size_t first, std::size_t step, std::span<float> out) {
  switch (tensor.type->type) {
    case SafetensorsType::kF32:
      for (float& value : out) value = LoadAt<float>(tensor, std::exchange(first, first + step));
      break;
    case SafetensorsType::kF16:
      for (float& value : out) value = inlay::F16ToF32(LoadAt<std::uint16_t>(tensor, std::exchange(first, first + step)));
      break;
    case SafetensorsType::kBF16:
      for (float& value : out) value = inlay::BF16ToF32(LoadAt<std::uint16_t>(tensor, std::exchange(first, first + step)));
      break;
    case SafetensorsType::kF64:
      for (float& value : out) value = static_cast<float>(LoadAt<double>(tensor, std::exchange(first, first + step)));
      break;
    default: break;  // refused when the model was planned
  }
}

// A tensor of the output: its shape and type, and its rows on demand.
struct OutputTensor {
  const HfTensorPlan* plan = nullptr;
  std::size_t rows = 0;  // of one part
  std::size_t cols = 0;
  WeightType type = WeightType::kF32;

  std::size_t all_rows() const { return rows * std::max<std::size_t>(1, plan->parts.size()); }

  void ReadRow(std::size_t row, std::span<float> out) const {
    if (plan->transform == HfTransform::kValues) {
      std::copy(plan->values.begin(), plan->values.end(), out.begin());
      return;
    }
    const SafetensorsTensor& part = plan->parts[row / rows];
    row %= rows;
    switch (plan->transform) {
      case HfTransform::kTranspose: return ReadValues(part, row, rows, out);
      case HfTransform::kRotaryRows: {
        // Row 2i + k of a head is row i of its half k.
        const std::size_t head_dim = rows / plan->heads, in_head = row % head_dim;
        row = row - in_head + in_head / 2 + in_head % 2 * (head_dim / 2);
        break;
      }
      default: break;
    }
    ReadValues(part, row * cols, 1, out);
    if (plan->transform == HfTransform::kPlusOne) {
      for (float& value : out) value += 1.0f;
    }
  }
};

// "auto" keeps what the folder has.
Result<WeightType> ParseFormat(const std::string& name) {
  std::string upper;
  for (const char c : name) upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const inlay::WeightTypeInfo* const info = inlay::FindWeightType(upper);
  if (info != nullptr && info->multiplies) return info->type;
  inlay::TextBuffer<192> names;
  for (const inlay::WeightTypeInfo& known : inlay::kWeightTypes) {
    if (known.multiplies) names.Append(names.empty() ? "" : ", ").Append(known.name);
  }
  return Fail(ErrorCode::kInvalidArgument, "--format", "\"", name, "\" is not one of ", names.view());
}

WeightType OwnType(const SafetensorsTensor& tensor) {
  switch (tensor.type->type) {
    case SafetensorsType::kF16: return WeightType::kF16;
    case SafetensorsType::kBF16: return WeightType::kBF16;
    default: return WeightType::kF32;
  }
}

Result<OutputTensor> Output(const HfTensorPlan& plan, const ConvertOptions& options) {
  OutputTensor tensor;
  tensor.plan = &plan;
  if (plan.transform == HfTransform::kValues) {
    tensor.rows = 1;
    tensor.cols = plan.values.size();
    return tensor;
  }
  const SafetensorsTensor& first = plan.parts[0];
  const bool vector = first.n_dims == 1;
  tensor.rows = vector ? 1 : static_cast<std::size_t>(first.dims[0]);
  tensor.cols = static_cast<std::size_t>(first.dims[vector ? 0 : 1]);
  if (plan.transform == HfTransform::kTranspose) std::swap(tensor.rows, tensor.cols);
  if (vector || plan.keep_float) return tensor;
  if (options.format == "auto") {
    tensor.type = OwnType(first);
  } else {
    INLAY_ASSIGN_OR_RETURN(const WeightType type, ParseFormat(options.format));
    tensor.type = inlay::FittingType(type, tensor.cols);
  }
  return tensor;
}

Result<void> WriteTensor(const OutputTensor& tensor, inlay::ThreadPool& threads, inlay::GgufWriter& writer, Progress& progress,
                         std::size_t& done, std::size_t total) {
  constexpr std::size_t kPieceBytes = std::size_t{8} << 20;
  const std::size_t row_bytes = inlay::RowBytes(tensor.type, tensor.cols);
  const std::size_t rows_at_once = std::max<std::size_t>(1, kPieceBytes / (row_bytes + tensor.cols * sizeof(float)));
  std::vector<std::byte> piece;
  std::vector<float> values;
  for (std::size_t begin = 0; begin < tensor.all_rows(); begin += rows_at_once) {
    const std::size_t count = std::min(rows_at_once, tensor.all_rows() - begin);
    piece.resize(count * row_bytes);
    values.resize(count * tensor.cols);
    threads.Run(count, [&](std::size_t i) {
      const std::span<float> row(values.data() + i * tensor.cols, tensor.cols);
      tensor.ReadRow(begin + i, row);
      inlay::EncodeRow(tensor.type, row.data(), row.size(), piece.data() + i * row_bytes);
    });
    INLAY_CHECK_OK(writer.Append(piece));
    done += piece.size();
    if (!progress(done, total)) return Fail(ErrorCode::kCancelled, "convert", "interrupted");
  }
  return {};
}

Result<void> ConvertFolder(const ConvertOptions& options) {
  if (options.format != "auto") INLAY_CHECK_OK(ParseFormat(options.format));
  INLAY_ASSIGN_OR_RETURN(const HfFolder folder, HfFolder::Open(options.folder));
  INLAY_ASSIGN_OR_RETURN(HfModelPlan plan, PlanHfModel(folder));
  INLAY_CHECK_OK(PutHfTokenizer(folder, plan.vocab, plan.metadata));

  std::vector<OutputTensor> tensors;
  std::vector<inlay::GgufTensorEntry> entries;
  std::size_t total = 0;
  for (const HfTensorPlan& planned : plan.tensors) {
    INLAY_ASSIGN_OR_RETURN(const OutputTensor tensor, Output(planned, options));
    tensors.push_back(tensor);
    inlay::GgufTensorEntry entry = inlay::GgufTensorEntry::Matrix(planned.name, tensor.type, tensor.rows, tensor.cols);
    if (planned.parts.size() > 1) {
      entry.n_dims = 3;
      entry.dims[2] = planned.parts.size();
      entry.bytes *= planned.parts.size();
    }
    entries.push_back(entry);
    total += static_cast<std::size_t>(entry.bytes);
  }
  inlay::ThreadPool threads(ThreadCount(options.threads));
  INLAY_ASSIGN_OR_RETURN(OutputFile output, OutputFile::Create(options.output));
  const auto sink = [&](std::span<const std::byte> bytes) { return output.Write(bytes); };
  INLAY_ASSIGN_OR_RETURN(inlay::GgufWriter writer, inlay::GgufWriter::Begin(sink, plan.metadata.size(), entries));
  INLAY_CHECK_OK(plan.metadata.Write(writer));
  INLAY_CHECK_OK(writer.EndMetadata());
  Progress progress("converting");
  std::size_t done = 0;
  for (const OutputTensor& tensor : tensors) {
    INLAY_CHECK_OK(WriteTensor(tensor, threads, writer, progress, done, total));
  }
  INLAY_CHECK_OK(writer.Finish());
  return output.Commit();
}

}  // namespace

Result<void> Convert(const ConvertOptions& options) {
  // Every access to a document is checked; what is left are numbers that do not fit what they are asked for as.
  try {
    return ConvertFolder(options);
  } catch (const HfJson::exception& error) {
    return Fail(ErrorCode::kBadFile, options.folder, error.what());
  }
}

}  // namespace cli
