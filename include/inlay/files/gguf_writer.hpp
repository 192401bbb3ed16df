// Writes GGUF version 3 as a stream: metadata, then tensor descriptions, then tensor data, with no memory of its own.
#ifndef INLAY_FILES_GGUF_WRITER_HPP_
#define INLAY_FILES_GGUF_WRITER_HPP_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include "inlay/core/checked.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/gguf.hpp"

INLAY_BEGIN_NAMESPACE

// Takes the file's bytes, in order. An error ends the writing and is passed on.
using ByteSink = FunctionRef<Result<void>(std::span<const std::byte>)>;

// A tensor to be written. dims[0] is the length of a row; dims from n_dims on are 1; `bytes` is the size of its data.
struct GgufTensorEntry {
  std::string_view name;
  std::uint32_t type_id = 0;
  std::uint32_t n_dims = 1;
  std::array<std::uint64_t, kGgufMaxDims> dims = {1, 1, 1, 1};
  std::uint64_t bytes = 0;

  // A matrix of `rows` rows (or, of one row, a vector); cols is a multiple of the type's block_values.
  static constexpr GgufTensorEntry Matrix(std::string_view name, WeightType type, std::size_t rows, std::size_t cols) {
    return {name,
            static_cast<std::uint32_t>(type),
            rows == 1 ? 1u : 2u,
            {cols, rows, 1, 1},
            std::uint64_t{RowBytes(type, cols)} * rows};
  }
};

// Use, each step returning a Result:
//   auto writer = GgufWriter::Begin(sink, metadata_count, tensors, alignment);
//   writer->Put(key, value) / PutArray / PutStrings / Copy, metadata_count times
//   writer->EndMetadata();
//   writer->Append(bytes), any pieces, the data of all tensors in their order
//   writer->Finish();
// The sink and the tensor entries must outlive the writer. GgufFile opens what was written, provided that keys and
// names are unique (the writer has no memory to check that). Calls out of order are kInvalidArgument; after an error of
// the sink the file is incomplete and the writer is of no further use.
class GgufWriter {
 public:
  // Writes the header. `general.alignment` is written by the writer itself where it is not the default of 32, and is
  // not part of metadata_count. `sink` is a ByteSink or anything that converts to one; a temporary does not bind.
  template <class Sink>
  static Result<GgufWriter> Begin(Sink& sink, std::uint64_t metadata_count, std::span<const GgufTensorEntry> tensors,
                                  std::size_t alignment = kGgufDefaultAlignment) {
    if (!std::has_single_bit(alignment) || alignment < kGgufMinAlignment || alignment > kGgufMaxAlignment) {
      return Fail(ErrorCode::kInvalidArgument, kGgufAlignmentKey, "is ", alignment, ", must be a power of two from ",
                  kGgufMinAlignment, " to ", kGgufMaxAlignment);
    }
    for (const GgufTensorEntry& entry : tensors) INLAY_CHECK_OK(CheckEntry(entry));
    GgufWriter writer(ByteSink(sink), metadata_count, tensors, alignment);
    const bool own_key = alignment != kGgufDefaultAlignment;
    INLAY_CHECK_OK(writer.WriteNumber(kGgufMagic));
    INLAY_CHECK_OK(writer.WriteNumber(std::uint32_t{3}));
    INLAY_CHECK_OK(writer.WriteNumber(std::uint64_t{tensors.size()}));
    INLAY_CHECK_OK(writer.WriteNumber(metadata_count + (own_key ? 1 : 0)));
    if (own_key) {
      INLAY_CHECK_OK(writer.WriteString(kGgufAlignmentKey));
      INLAY_CHECK_OK(writer.WriteNumber(static_cast<std::uint32_t>(GgufType::kU32)));
      INLAY_CHECK_OK(writer.WriteNumber(static_cast<std::uint32_t>(alignment)));
    }
    return writer;
  }

  // An integer, float or bool; its type in the file is that of T.
  template <class T>
    requires std::is_arithmetic_v<T> Result<void> Put(std::string_view key, T value) {
      INLAY_CHECK_OK(BeginValue(key, GgufTypeOf<T>()));
      return WriteNumber(value);
    }
  Result<void> Put(std::string_view key, std::string_view value) {
    INLAY_CHECK_OK(BeginValue(key, GgufType::kString));
    return WriteString(value);
  }
  // Without this a string literal would convert to bool.
  Result<void> Put(std::string_view key, const char* value) { return Put(key, std::string_view(value)); }

  template <class T>
    requires std::is_arithmetic_v<T> Result<void> PutArray(std::string_view key, std::span<const T> values) {
      INLAY_CHECK_OK(BeginArray(key, GgufTypeOf<T>(), values.size()));
      return Write(std::as_bytes(values));
    }
  // An array of `count` strings: string(0) ... string(count - 1) are asked for in order.
  Result<void> PutStrings(std::string_view key, std::size_t count, FunctionRef<std::string_view(std::size_t)> string) {
    INLAY_CHECK_OK(BeginArray(key, GgufType::kString, count));
    for (std::size_t i = 0; i < count; ++i) INLAY_CHECK_OK(WriteString(string(i)));
    return {};
  }
  // A value of another file, byte for byte; any key but `general.alignment`, which the writer owns.
  Result<void> Copy(const GgufValue& value) {
    INLAY_CHECK_OK(BeginValue(value.key, value.type));
    return Write(value.encoded);
  }

  // Writes the tensors' descriptions and the padding before their data.
  Result<void> EndMetadata() {
    if (phase_ != Phase::kMetadata || values_left_ != 0) {
      return Fail(ErrorCode::kInvalidArgument, "GGUF writer", values_left_, " metadata values are still to be written");
    }
    std::uint64_t offset = 0;
    for (const GgufTensorEntry& entry : tensors_) {
      INLAY_CHECK_OK(WriteString(entry.name));
      INLAY_CHECK_OK(WriteNumber(entry.n_dims));
      for (std::uint32_t d = 0; d < entry.n_dims; ++d) INLAY_CHECK_OK(WriteNumber(entry.dims[d]));
      INLAY_CHECK_OK(WriteNumber(entry.type_id));
      INLAY_CHECK_OK(WriteNumber(offset));
      std::uint64_t end = 0;
      if (!CheckedAdd(offset, entry.bytes, end) || !CheckedAdd(end, alignment_ - 1, end)) {
        return Fail(ErrorCode::kTooLarge, entry.name, "the file would not fit 64 bits");
      }
      offset = end / alignment_ * alignment_;
    }
    phase_ = Phase::kData;
    return Pad();
  }

  // The next bytes of tensor data. Pieces may cross from one tensor into the next; each tensor is padded when complete.
  Result<void> Append(std::span<const std::byte> bytes) {
    if (phase_ != Phase::kData)
      return Fail(ErrorCode::kInvalidArgument, "GGUF writer", "call EndMetadata before Append");
    while (!bytes.empty()) {
      if (tensor_ == tensors_.size()) {
        return Fail(ErrorCode::kInvalidArgument, "GGUF writer", bytes.size(), " bytes more than the tensors declared");
      }
      const std::uint64_t left = tensors_[tensor_].bytes - written_;
      const std::size_t count = left < bytes.size() ? static_cast<std::size_t>(left) : bytes.size();
      INLAY_CHECK_OK(Write(bytes.first(count)));
      bytes = bytes.subspan(count);
      written_ += count;
      if (written_ == tensors_[tensor_].bytes) {
        written_ = 0;
        ++tensor_;
        INLAY_CHECK_OK(Pad());
      }
    }
    return {};
  }

  // Checks that all the data came. The sink has everything; closing it is the caller's.
  Result<void> Finish() {
    if (phase_ != Phase::kData || tensor_ != tensors_.size()) {
      return Fail(ErrorCode::kInvalidArgument, tensor_ < tensors_.size() ? tensors_[tensor_].name : "GGUF writer",
                  "its data is incomplete");
    }
    phase_ = Phase::kFinished;
    return {};
  }

  // Bytes written so far: where the next call writes.
  std::uint64_t position() const { return position_; }

 private:
  enum class Phase : std::uint8_t { kMetadata, kData, kFinished };

  GgufWriter(ByteSink sink, std::uint64_t metadata_count, std::span<const GgufTensorEntry> tensors,
             std::size_t alignment)
      : sink_(sink), tensors_(tensors), alignment_(alignment), values_left_(metadata_count) {}

  static Result<void> CheckName(std::string_view name) {
    if (name.empty() || name.size() > kGgufMaxNameBytes || !detail::IsPlainUtf8(name)) {
      return Fail(ErrorCode::kInvalidArgument, "GGUF key or tensor name", "must be 1 to ", kGgufMaxNameBytes,
                  " bytes of UTF-8 without NUL");
    }
    return {};
  }

  static Result<void> CheckEntry(const GgufTensorEntry& entry) {
    INLAY_CHECK_OK(CheckName(entry.name));
    const auto refuse = [&](std::string_view why) { return Fail(ErrorCode::kInvalidArgument, entry.name, why); };
    if (entry.n_dims == 0 || entry.n_dims > kGgufMaxDims) return refuse("a tensor has 1 to 4 dimensions");
    std::uint64_t values = 1;
    for (std::uint32_t d = 0; d < kGgufMaxDims; ++d) {
      if (entry.dims[d] == 0 || (d >= entry.n_dims && entry.dims[d] != 1)) return refuse("a dimension is out of range");
      if (!CheckedMultiply(values, entry.dims[d], values)) return refuse("its dimensions do not fit 64 bits");
    }
    if (entry.bytes == 0) return refuse("a tensor is not empty");
    const WeightTypeInfo* type = FindWeightType(entry.type_id);
    if (type == nullptr) return {};
    std::uint64_t bytes = 0;
    if (entry.dims[0] % type->block_values != 0) return refuse("its rows are not whole blocks");
    if (!CheckedMultiply(values / type->block_values, type->block_bytes, bytes) || bytes != entry.bytes) {
      return refuse("its bytes are not what its type and dimensions take");
    }
    return {};
  }

  Result<void> Write(std::span<const std::byte> bytes) {
    if (bytes.empty()) return {};
    INLAY_CHECK_OK(sink_(bytes));
    position_ += bytes.size();
    return {};
  }
  template <class T>
  Result<void> WriteNumber(T value) {
    return Write(std::as_bytes(std::span<const T, 1>(&value, 1)));
  }
  Result<void> WriteString(std::string_view text) {
    INLAY_CHECK_OK(WriteNumber(std::uint64_t{text.size()}));
    return Write(std::as_bytes(std::span(text.data(), text.size())));
  }
  Result<void> BeginValue(std::string_view key, GgufType type) {
    INLAY_CHECK_OK(CheckName(key));
    if (key == kGgufAlignmentKey) {
      return Fail(ErrorCode::kInvalidArgument, key, "is written by the writer; pass the alignment to Begin");
    }
    if (values_left_ == 0) {
      return Fail(ErrorCode::kInvalidArgument, key, "is more metadata than Begin was told");
    }
    --values_left_;
    INLAY_CHECK_OK(WriteString(key));
    return WriteNumber(static_cast<std::uint32_t>(type));
  }
  Result<void> BeginArray(std::string_view key, GgufType element, std::uint64_t count) {
    INLAY_CHECK_OK(BeginValue(key, GgufType::kArray));
    INLAY_CHECK_OK(WriteNumber(static_cast<std::uint32_t>(element)));
    return WriteNumber(count);
  }
  Result<void> Pad() {
    static constexpr std::array<std::byte, 64> kZeros = {};
    while (position_ % alignment_ != 0) {
      const std::uint64_t missing = alignment_ - position_ % alignment_;
      const std::size_t count = missing < kZeros.size() ? static_cast<std::size_t>(missing) : kZeros.size();
      INLAY_CHECK_OK(Write(std::span(kZeros).first(count)));
    }
    return {};
  }

  ByteSink sink_;
  std::span<const GgufTensorEntry> tensors_;
  std::uint64_t alignment_;
  std::uint64_t values_left_;
  std::uint64_t position_ = 0;
  std::size_t tensor_ = 0;     // the tensor that Append writes
  std::uint64_t written_ = 0;  // bytes of it that are written
  Phase phase_ = Phase::kMetadata;
};

INLAY_END_NAMESPACE

#endif  // INLAY_FILES_GGUF_WRITER_HPP_
