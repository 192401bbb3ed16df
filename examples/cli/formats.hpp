// The formats that commands can write a model in: a weight type for every matrix, or a mix of types.
#ifndef INLAY_EXAMPLES_CLI_FORMATS_HPP_
#define INLAY_EXAMPLES_CLI_FORMATS_HPP_

#include <cstdint>
#include <string>
#include <string_view>

#include "inlay/config/model_config.hpp"
#include "inlay/core/result.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/weights/tensor_roles.hpp"

namespace cli {

struct Format {
  std::string_view name;    // in lower case
  std::uint32_t file_type;  // the number by which files name it (general.file_type)
  inlay::WeightType (*recipe)(const inlay::ModelConfig&, inlay::TensorId);

  // The type of a tensor; one with smaller blocks where its rows are not whole blocks of the recipe's.
  inlay::WeightType TypeOf(const inlay::ModelConfig& config, inlay::TensorId id) const;
};

// By its name in any case; the error lists all names.
inlay::Result<Format> FindFormat(const std::string& name);
// All names, separated by commas.
std::string FormatNames();

}  // namespace cli

#endif  // INLAY_EXAMPLES_CLI_FORMATS_HPP_
