// The command quantize: a model file with its matrices in another weight type. Written as a stream, in parallel, and the same
// for every number of threads.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands.hpp"
#include "common.hpp"
#include "formats.hpp"
#include "inlay/core/finite.hpp"
#include "inlay/core/thread_pool.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/gguf_writer.hpp"
#include "inlay/formats/codec.hpp"
#include "inlay/host/mapped_gguf.hpp"
#include "inlay/weights/packed_file.hpp"
#include "inlay/weights/recipes.hpp"
#include "inlay/weights/tensor_roles.hpp"
#include "inlay/weights/weight_source.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::GgufFile;
using inlay::GgufTensor;
using inlay::ModelConfig;
using inlay::Result;
using inlay::TensorRole;
using inlay::WeightType;
using Json = nlohmann::ordered_json;

namespace {

// --- which type each tensor gets ---

// One --keep: the type of all matrices of a role.
struct Kept {
  TensorRole role;
  WeightType type;
};

// A role's name in files, without ".weight": attn_q, ffn_down, ffn_down_exps.
bool IsNameOf(std::string_view name, const inlay::TensorRoleInfo& info) {
  return std::string(name) + ".weight" == info.name;
}

Result<Kept> ParseKept(const std::string& text) {
  const std::size_t equals = text.find('=');
  const std::string role = Lower(text.substr(0, equals));
  const std::string type = equals == std::string::npos ? "" : text.substr(equals + 1);
  std::string roles;
  for (const inlay::TensorRoleInfo& info : inlay::kTensorRoles) {
    if (inlay::IsVector(info.role)) continue;
    const std::string_view name = info.name.substr(0, info.name.find('.'));
    roles += (roles.empty() ? "" : ", ") + std::string(name);
    if (!IsNameOf(role, info)) continue;
    for (const inlay::WeightTypeInfo& known : inlay::kWeightTypes) {
      if (known.multiplies && Lower(std::string(known.name)) == Lower(type)) return Kept{info.role, known.type};
    }
    return Fail(ErrorCode::kInvalidArgument, "--keep", "\"", type, "\" is no weight type");
  }
  return Fail(ErrorCode::kInvalidArgument, "--keep", "\"", text, "\" is not ROLE=TYPE with a role of ", roles);
}

struct Conversion {
  GgufTensor tensor;
  WeightType from;
  WeightType to;
  double error = 0.0;   // sum of the squares of what rounding changed
  double square = 0.0;  // sum of the squares of the values
};

Result<std::vector<Conversion>> Plan(const GgufFile& file, const ModelConfig& config, const Format& format,
                                     const std::vector<Kept>& kept) {
  std::vector<Conversion> plan;
  for (std::size_t i = 0; i < file.tensor_count(); ++i) {
    const GgufTensor tensor = file.tensor(i);
    if (tensor.type == nullptr || !tensor.type->multiplies) {
      const std::string_view name = tensor.type == nullptr ? inlay::NameOfUnreadType(tensor.type_id) : tensor.type->name;
      return Fail(ErrorCode::kUnsupported, tensor.name, "type ", tensor.type_id, " (", name, ") cannot be decoded");
    }
    // Of several tensors in one (queries, keys and values) the first decides.
    const inlay::TensorParts parts = inlay::PartsOf(config, tensor);
    const std::optional<inlay::TensorId> id = parts.count == 0 ? std::nullopt : std::optional(parts.ids[0]);
    WeightType to = tensor.type->type;
    // Vectors and what the library has no role for stay as they are too.
    if (id && tensor.n_dims > 1 && !inlay::IsVector(id->role) && !inlay::IsKeptByRecipes(id->role)) {
      to = format.TypeOf(config, *id);
    }
    for (const Kept& one : kept) {
      if (id && tensor.n_dims > 1 && one.role == id->role) {
        to = inlay::FittingType(one.type, static_cast<std::size_t>(tensor.cols()));
      }
    }
    plan.push_back({tensor, tensor.type->type, to});
  }
  return plan;
}

// --- conversion ---

// Rows from `row` on, as many as `to` has room for. False: a value is NaN or infinite.
struct RowError {
  double error = 0.0;
  double square = 0.0;
  bool finite = true;
};
RowError ConvertRows(const Conversion& what, std::size_t row, std::size_t rows, std::byte* to) {
  const std::size_t cols = static_cast<std::size_t>(what.tensor.cols());
  const std::size_t from_bytes = inlay::RowBytes(what.from, cols), to_bytes = inlay::RowBytes(what.to, cols);
  std::vector<float> values(cols), rounded(cols);
  RowError sums;
  for (std::size_t r = row; r < row + rows; ++r, to += to_bytes) {
    inlay::DecodeRow(what.from, what.tensor.data.data() + r * from_bytes, cols, values.data());
    if (!std::all_of(values.begin(), values.end(), inlay::IsFinite)) {
      sums.finite = false;
      return sums;
    }
    inlay::EncodeRow(what.to, values.data(), cols, to);
    inlay::DecodeRow(what.to, to, cols, rounded.data());
    for (std::size_t i = 0; i < cols; ++i) {
      const double value = static_cast<double>(values[i]);
      const double difference = static_cast<double>(rounded[i]) - value;
      sums.error += difference * difference;
      sums.square += value * value;
    }
  }
  return sums;
}

using Write = inlay::FunctionRef<Result<void>(std::span<const std::byte>)>;

Result<void> Convert(Conversion& what, inlay::ThreadPool& threads, std::vector<std::byte>& piece, Write write) {
  const std::size_t rows = static_cast<std::size_t>(what.tensor.rows());
  const std::size_t row_bytes = inlay::RowBytes(what.to, static_cast<std::size_t>(what.tensor.cols()));
  constexpr std::size_t kPieceBytes = std::size_t{4} << 20;
  constexpr std::size_t kRowsPerTask = 8;
  const std::size_t rows_at_once = std::max<std::size_t>(1, kPieceBytes / row_bytes);
  if (what.from == what.to) {
    for (std::size_t row = 0; row < rows; row += rows_at_once) {
      const std::size_t count = std::min(rows_at_once, rows - row);
      INLAY_CHECK_OK(write(what.tensor.data.subspan(row * row_bytes, count * row_bytes)));
    }
    return {};
  }
  for (std::size_t row = 0; row < rows; row += rows_at_once) {
    const std::size_t count = std::min(rows_at_once, rows - row);
    piece.resize(count * row_bytes);
    std::vector<RowError> sums((count + kRowsPerTask - 1) / kRowsPerTask);
    threads.Run(sums.size(), [&](std::size_t task) {
      const std::size_t first = task * kRowsPerTask;
      sums[task] = ConvertRows(what, row + first, std::min(kRowsPerTask, count - first), piece.data() + first * row_bytes);
    });
    for (const RowError& sum : sums) {
      if (!sum.finite) return Fail(ErrorCode::kNonFinite, what.tensor.name, "holds NaN or infinity");
      what.error += sum.error;
      what.square += sum.square;
    }
    INLAY_CHECK_OK(write(piece));
  }
  return {};
}

// Keys that the new file has values of its own for, and those that describe how the old one was split.
bool IsReplaced(std::string_view key) {
  return key == inlay::kGgufAlignmentKey || key == "general.file_type" || key == "general.quantization_version" ||
         key.starts_with("split.");
}

double RelativeError(double error, double square) { return square > 0.0 ? std::sqrt(error / square) : 0.0; }

}  // namespace

Result<void> Quantize(const QuantizeOptions& options) {
  INLAY_ASSIGN_OR_RETURN(const Format format, FindFormat(options.format));
  std::vector<Kept> kept;
  for (const std::string& text : options.keep) {
    INLAY_ASSIGN_OR_RETURN(const Kept one, ParseKept(text));
    kept.push_back(one);
  }
  INLAY_ASSIGN_OR_RETURN(const inlay::MappedGguf mapped, inlay::MappedGguf::Open(options.input.c_str()));
  const GgufFile& file = *mapped.file();
  if (inlay::PackedFile::IsPacked(file)) {
    return Fail(ErrorCode::kUnsupported, options.input, "is a packed file; quantize the file that it was made from");
  }
  INLAY_ASSIGN_OR_RETURN(const ModelConfig config, inlay::ReadConfig(file));
  INLAY_ASSIGN_OR_RETURN(std::vector<Conversion> plan, Plan(file, config, format, kept));

  std::vector<inlay::GgufTensorEntry> entries;
  std::size_t total = 0;
  for (const Conversion& what : plan) {
    inlay::GgufTensorEntry entry;
    entry.name = what.tensor.name;
    entry.type_id = static_cast<std::uint32_t>(what.to);
    entry.n_dims = what.tensor.n_dims;
    entry.dims = what.tensor.dims;
    entry.bytes = what.tensor.rows() * inlay::RowBytes(what.to, static_cast<std::size_t>(what.tensor.cols()));
    entries.push_back(entry);
    total += static_cast<std::size_t>(entry.bytes);
  }
  std::uint64_t copied = 0;
  for (std::size_t i = 0; i < file.metadata_count(); ++i) copied += IsReplaced(file.metadata(i).key) ? 0u : 1u;

  inlay::ThreadPool threads(ThreadCount(options.threads));
  INLAY_ASSIGN_OR_RETURN(OutputFile output, OutputFile::Create(options.output));
  const auto sink = [&](std::span<const std::byte> bytes) { return output.Write(bytes); };
  INLAY_ASSIGN_OR_RETURN(inlay::GgufWriter writer, inlay::GgufWriter::Begin(sink, copied + 2, entries));
  for (std::size_t i = 0; i < file.metadata_count(); ++i) {
    if (!IsReplaced(file.metadata(i).key)) INLAY_CHECK_OK(writer.Copy(file.metadata(i)));
  }
  INLAY_CHECK_OK(writer.Put("general.file_type", format.file_type));
  INLAY_CHECK_OK(writer.Put("general.quantization_version", std::uint32_t{2}));
  INLAY_CHECK_OK(writer.EndMetadata());

  Progress progress("quantizing");
  std::size_t done = 0;
  const auto write = [&](std::span<const std::byte> bytes) -> Result<void> {
    INLAY_CHECK_OK(writer.Append(bytes));
    done += bytes.size();
    if (!progress(done, total)) return Fail(ErrorCode::kCancelled, options.output, "interrupted");
    return {};
  };
  std::vector<std::byte> piece;
  Json tensors = Json::array();
  double error = 0.0, square = 0.0;
  for (Conversion& what : plan) {
    INLAY_CHECK_OK(Convert(what, threads, piece, write));
    mapped.ReleasePages();
    error += what.error;
    square += what.square;
    tensors.push_back({{"name", what.tensor.name},
                       {"from", inlay::Name(what.from)},
                       {"to", inlay::Name(what.to)},
                       {"relative_error", RelativeError(what.error, what.square)}});
  }
  INLAY_CHECK_OK(writer.Finish());
  INLAY_CHECK_OK(output.Commit());
  const Json summary = {{"format", format.name}, {"bytes", writer.position()}, {"relative_error", RelativeError(error, square)},
                        {"tensors", tensors}};
  return WriteOut(summary.dump(1) + "\n");
}

}  // namespace cli
