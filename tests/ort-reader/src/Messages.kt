// The messages that ORT Server's orchestrator reads from its queue, as far as jobwarden sends them. The name of the package is part of the
// wire format: kotlinx-serialization writes a class with its full name into `type`.
package org.eclipse.apoapsis.ortserver.model.orchestrator

import kotlinx.serialization.Serializable

@Serializable
sealed interface OrchestratorMessage

@Serializable
data class ConfigWorkerError(val ortRunId: Long, val errorMessage: String? = null) : OrchestratorMessage

@Serializable
data class AnalyzerWorkerError(val jobId: Long, val errorMessage: String? = null) : OrchestratorMessage

@Serializable
data class AdvisorWorkerError(val jobId: Long, val errorMessage: String? = null) : OrchestratorMessage

@Serializable
data class ScannerWorkerError(val jobId: Long, val errorMessage: String? = null) : OrchestratorMessage

@Serializable
data class EvaluatorWorkerError(val jobId: Long, val errorMessage: String? = null) : OrchestratorMessage

@Serializable
data class ReporterWorkerError(val jobId: Long, val errorMessage: String? = null) : OrchestratorMessage

@Serializable
data class NotifierWorkerError(val jobId: Long, val errorMessage: String? = null) : OrchestratorMessage

@Serializable
data class WorkerError(val endpointName: String) : OrchestratorMessage
