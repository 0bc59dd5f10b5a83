# Asks the service for its health. Here it is a file; in earnest, a request.
set -eu
grep --quiet '"level":"info"' "$(dirname "$0")/service.log"
echo "SMOKE OK"
