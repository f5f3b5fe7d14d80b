module talos.internal/components/pause

go 1.26.0
